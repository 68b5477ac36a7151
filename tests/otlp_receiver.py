"""A collector for tests: takes OTLP over HTTP and decodes it with the official messages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan


class OtlpReceiver:
    """Spans that came, by id; a copy of a span replaces the one before."""

    def __init__(self, *, keeps: bool = True) -> None:
        self.endpoint = ""
        self.bytes = 0
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
def otlp_receiver(status: int = 200, *, keeps: bool = True) -> Iterator[OtlpReceiver]:
    """Run a collector on loopback that answers with this status, and keeps what it takes."""
    receiver = OtlpReceiver(keeps=keeps)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if status == 200:
                receiver.take(body)
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

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
