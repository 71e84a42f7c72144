"""A forwarding server that keeps the bodies of completions, byte for byte; not for measuring."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Recorded:
    """What went through.

    Attributes:
        url: The URL of the API to talk to instead of the server's.
        bodies: The completions' bodies, in the order in which they came.
    """

    url: str
    bodies: list[str] = field(default_factory=list)


@contextlib.contextmanager
def recorder(url: str) -> Iterator[Recorded]:
    """Stand in front of the server at `url`."""
    target = urlsplit(url)
    bodies: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._forward(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/chat/completions"):
                bodies.append(body.decode())
            self._forward(body)

        def _forward(self, body: bytes | None) -> None:
            line = http.client.HTTPConnection(target.hostname or "", target.port or 80)
            kept = {name: self.headers[name] for name in ("Content-Type", "Authorization") if name in self.headers}
            line.request(self.command, self.path, body, kept)
            answer = line.getresponse()
            data = answer.read()
            line.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Recorded(f"http://127.0.0.1:{server.server_address[1]}{target.path}", bodies)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
