"""A collector for tests: takes OTLP over HTTP and decodes it with the official messages."""

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


class OtlpReceiver:
    """Spans that came, by id; a copy of a span replaces the one before.

    Attributes:
        endpoint: base URL.
        bytes: size of all bodies.
        calls: path and headers of every request.
        resources: attributes of the resource of every request.
    """

    def __init__(self, *, keeps: bool = True) -> None:
        self.endpoint = ""
        self.bytes = 0
        self.calls: list[tuple[str, Message]] = []
        self._keeps = keeps
        self.resources: list[dict[str, str]] = []
        self._spans: dict[tuple[bytes, bytes], WireSpan] = {}
        self._lock = threading.Lock()

    @property
    def spans(self) -> list[WireSpan]:
        with self._lock:
            return list(self._spans.values())

    def take(self, body: bytes) -> None:
        self.bytes += len(body)
        if not self._keeps:
            return
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for resource in request.resource_spans:
                self.resources.append(attributes_of(resource.resource))
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self._spans[span.trace_id, span.span_id] = span


def attributes_of(item: Any) -> dict[str, str]:
    """Return the attributes of a span, event or resource as texts."""
    found = {}
    for each in item.attributes:
        kind = each.value.WhichOneof("value")
        found[each.key] = str(getattr(each.value, kind)) if kind else ""
    return found


@contextmanager
def otlp_receiver(
    status: int = 200,
    *,
    keeps: bool = True,
    first: Sequence[int] = (),
    headers: Mapping[str, str] | None = None,
) -> Iterator[OtlpReceiver]:
    """Run a collector on loopback.

    Args:
        status: of its answers; it takes the spans when it is 200.
        keeps: keep the spans.
        first: status of each of the first answers.
        headers: of its answers.
    """
    receiver = OtlpReceiver(keeps=keeps)
    statuses = iter(first)

    class Handler(BaseHTTPRequestHandler):
        # Keeps connections open, as collectors do.
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            answer = next(statuses, status)
            receiver.calls.append((self.path, self.headers))
            if answer == 200:
                receiver.take(DECOMPRESS[self.headers["content-encoding"] or ""](body))
            self.send_response(answer)
            content = ExportTraceServiceResponse().SerializeToString()
            for name, value in {
                "content-type": "application/x-protobuf",
                "content-length": str(len(content)),
                **(headers or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
