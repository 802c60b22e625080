"""RemoteMonitor: send the numbers of each epoch to a server."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Mapping
from typing import Any

from verax.callbacks.base import Callback, Logs, plain_number
from verax.errors import InputError, VeraxWarning

__all__ = ["RemoteMonitor"]


class RemoteMonitor(Callback):
    """POST the epoch and its logs to ``root + path`` at the end of every epoch.

    Args:
        root: The server, ``http://...`` or ``https://...``.
        path: Where on it.
        field: The form field that holds the JSON.
        headers: HTTP headers beside the content type.
        send_as_json: Send the JSON as the body (``application/json``), and not as a form field.
        timeout: Seconds after which a server that does not answer is given up.

    A server that cannot be reached, or that answers with an error, gets one VeraxWarning an epoch; training goes on.

    Raises:
        InputError: For a root that is no HTTP address.

    Differs from Keras: nothing needs to be installed; ``timeout`` is new (there a silent server holds the fit up).
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Mapping[str, str] | None = None,
        send_as_json: bool = False,
        *,
        timeout: float = 10.0,
    ):
        if urllib.parse.urlsplit(root).scheme not in ("http", "https"):
            raise InputError(
                "RemoteMonitor sends to a server.",
                received=f"root={root!r}",
                because="it is no HTTP address",
                do="Pass root='http://host:port'.",
            )
        self.root = root
        self.path = path
        self.field = field
        self.headers = dict(headers or {})
        self.send_as_json = send_as_json
        self.timeout = timeout

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Send the numbers."""
        numbers = {name: plain_number(value) for name, value in Logs.of(logs).items()}
        text = json.dumps({"epoch": epoch, **numbers})
        if self.send_as_json:
            body, kind = text.encode(), "application/json"
        else:
            body, kind = urllib.parse.urlencode({self.field: text}).encode(), "application/x-www-form-urlencoded"
        address = self.root + self.path
        request = urllib.request.Request(address, body, {"Content-Type": kind, **self.headers}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout):
                pass
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            warnings.warn(f"RemoteMonitor could not send to {address}: {reason}.", VeraxWarning, stacklevel=2)
