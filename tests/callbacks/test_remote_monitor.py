"""RemoteMonitor, against a server on 127.0.0.1."""

from __future__ import annotations

import json
import urllib.parse

import numpy as np
import pytest

from tests.servers import serving
from verax.callbacks import RemoteMonitor
from verax.errors import InputError, VeraxWarning

LOGS = {"loss": 0.5, "accuracy": np.float32(0.25)}


def test_a_form_field_holds_the_json():
    with serving() as seen:
        RemoteMonitor(seen.address).on_epoch_end(3, LOGS)
    [(method, path, headers, body)] = seen
    assert (method, path) == ("POST", "/publish/epoch/end/")
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert json.loads(urllib.parse.parse_qs(body.decode())["data"][0]) == {"epoch": 3, "loss": 0.5, "accuracy": 0.25}


def test_every_argument_counts():
    with serving() as seen:
        monitor = RemoteMonitor(seen.address, "/here", "field", {"X-Token": "secret"}, send_as_json=True)
        monitor.on_epoch_end(0, LOGS)
        RemoteMonitor(seen.address, field="other").on_epoch_end(0, LOGS)
    (_, path, headers, body), (_, _, _, form) = seen
    assert (path, headers["X-Token"], headers["Content-Type"]) == ("/here", "secret", "application/json")
    assert json.loads(body) == {"epoch": 0, "loss": 0.5, "accuracy": 0.25}
    assert list(urllib.parse.parse_qs(form.decode())) == ["other"]


@pytest.mark.parametrize("status", [None, 500])
def test_training_goes_on_when_the_server_does_not(status):
    with serving(status=status or 200) as seen:
        address = seen.address if status else "http://127.0.0.1:9"
        with pytest.warns(VeraxWarning, match="could not send"):
            RemoteMonitor(address, timeout=2.0).on_epoch_end(0, LOGS)


def test_what_is_no_address_is_refused():
    with pytest.raises(InputError, match="HTTP"):
        RemoteMonitor("localhost:9000")
