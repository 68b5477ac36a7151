"""A small web server on loopback, in threads, that behaves like hostile ones."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PIECE = b"x" * 65_536


class Web(ThreadingHTTPServer):
    """Serves ``/page?bytes=N``, ``/gzip?bytes=N``, ``/short``, ``/drip``, ``/to?url=…``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections = 0
        self.paths: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        getattr(self, f"_{parts.path.rpartition('/')[2]}")(query)

    do_HEAD = do_GET  # noqa: N815 - the library asks for this name

    def log_message(self, *_: Any) -> None:
        """Write no log."""

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _page(self, query: dict[str, str]) -> None:
        length = int(query.get("bytes", 5))
        self._head(200, length)
        for _ in range(length // len(PIECE)):
            self.wfile.write(PIECE)
        self.wfile.write(b"x" * (length % len(PIECE)))

    def _gzip(self, query: dict[str, str]) -> None:
        body = gzip.compress(b"x" * int(query["bytes"]))
        self._head(200, len(body), Content_Encoding="gzip")
        self.wfile.write(body)

    def _short(self, query: dict[str, str]) -> None:
        self._head(int(query.get("status", 200)), 1_000)
        self.wfile.write(b"x" * 400)
        self.close_connection = True

    def _drip(self, _query: dict[str, str]) -> None:
        self._head(200, 1_000)
        for _ in range(100):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def _to(self, query: dict[str, str]) -> None:
        self._head(302, 0, Location=query["url"])

    def _loop(self, _query: dict[str, str]) -> None:
        self._head(302, 0, Location="/loop")

    def _refuse(self, _query: dict[str, str]) -> None:
        self._head(429, 0, Retry_After="17")

    def _cookies(self, _query: dict[str, str]) -> None:
        body = (self.headers.get("Cookie") or "none").encode()
        self._head(200, len(body), Set_Cookie="given=1; Path=/")
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[Web]:
    with Web() as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield web
        finally:
            web.shutdown()
            thread.join()
