"""HTTP servers of a test's own on loopback: what a handler answers, with or without TLS."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Answers requests by its methods `do_GET` and the like, and writes no log."""

    def answer(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - as in BaseHTTPRequestHandler
        """Says nothing."""


@contextmanager
def listening(
    handler: type[Handler],
    certificates: Path | None = None,
    *,
    port: int = 0,
    server: type[ThreadingHTTPServer] = ThreadingHTTPServer,
) -> Iterator[int]:
    """The port of a running one, over TLS with the pair tls.crt and tls.key of a folder."""
    with server(("127.0.0.1", port), handler) as running:
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "tls.crt", certificates / "tls.key")
            running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running.server_port
        finally:
            running.shutdown()
            thread.join()
