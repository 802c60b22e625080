"""A server on 127.0.0.1 for tests: nothing of the network outside is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Seen(list[tuple[str, str, dict[str, str], bytes]]):
    """(method, path, headers, body) of every request."""

    address: str


@contextmanager
def serving(
    files: Mapping[str, bytes] | None = None, *, status: int = 200, cut: int = 0, ranges: bool = False
) -> Iterator[Seen]:
    """Serve files by their paths; other paths get ``status`` (404 for GET).

    ``cut``: so many bytes at the end of each file are promised and not sent.
    ``ranges``: whether a part can be asked for.
    """
    seen = Seen()
    held = dict(files or {})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = held.get(self.path)
            seen.append(("GET", self.path, dict(self.headers), b""))
            code, first = 404 if body is None else 200, 0
            if ranges and body is not None and "Range" in self.headers:
                first = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                code = 206 if first < len(body) else 416
            sent = (body or b"")[first:]
            self.send_response(code)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent[: len(sent) - cut])

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(("POST", self.path, dict(self.headers), body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    seen.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
