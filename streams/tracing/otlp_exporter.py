"""OTLP over HTTP: sends batches of encoded spans.

The exporter of the SDK takes spans only before they are encoded, and its encoder takes most of the
time of a traced request.
"""

import gzip
import logging
import random
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

import requests
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.util.re import parse_env_headers

from schemas.redaction import redact
from streams.observability.metrics import SPANS_DROPPED
from streams.tracing.otlp_encoding import encode_request, encode_resource

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
"""Default of the SDK, repeated requests included; ``OTEL_EXPORTER_OTLP_TIMEOUT``, in seconds."""

BACKOFF_SECONDS = 1.0
"""Before the first repeated request; doubled for each further one."""

RETRYABLE = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""By OTLP's specification, "Retryable Response Codes"; others say that the spans are invalid."""

COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


class OtlpExporter:
    """Sends spans to a collector, and counts those that it does not accept.

    Args:
        environment: has the variables ``OTEL_EXPORTER_OTLP_…``.
        resource: of all spans.
    """

    def __init__(self, environment: Mapping[str, str], resource: Resource) -> None:
        self._resource, self._scope = encode_resource(resource.attributes, "clipmill")
        self._endpoint = endpoint_of(environment)
        self._timeout = _seconds(_variable(environment, "TIMEOUT"))
        self._stopped = threading.Event()
        compression = _variable(environment, "COMPRESSION").lower() or "none"
        self._compress = COMPRESSIONS[compression]
        # Not of the session: REQUESTS_CA_BUNDLE would be preferred to it.
        self._verify: str | bool = _variable(environment, "CERTIFICATE") or True
        self._session = requests.Session()
        if certificate := _variable(environment, "CLIENT_CERTIFICATE"):
            key = _variable(environment, "CLIENT_KEY")
            self._session.cert = (certificate, key) if key else certificate
        self._session.headers.update(
            {
                "Content-Type": "application/x-protobuf",
                "User-Agent": f"clipmill/{resource.attributes[SERVICE_VERSION]!s}",
                **({} if compression == "none" else {"Content-Encoding": compression}),
                **parse_env_headers(_variable(environment, "HEADERS"), liberal=True),
            }
        )

    def export(self, spans: Sequence[bytes]) -> bool:
        """Send results of `encode_span`; return whether they were accepted. Does not raise."""
        body = self._compress(encode_request(self._resource, self._scope, spans))
        failure = self._send(body)
        if failure:
            log.warning("%d spans are not exported: %s", len(spans), redact(failure))
            SPANS_DROPPED.labels("export_failed").inc(len(spans))
        return not failure

    def shutdown(self) -> None:
        """Interrupt the backoff between two requests."""
        self._stopped.set()

    def _send(self, body: bytes) -> str:
        """Send a body until it is accepted; return the reason of a failure, "" for success."""
        deadline, delay = time.monotonic() + self._timeout, BACKOFF_SECONDS
        while True:
            left = deadline - time.monotonic()
            wait = delay * random.uniform(0.8, 1.2)  # noqa: S311  (no secret)
            try:
                answer = self._session.post(
                    self._endpoint,
                    data=body,
                    timeout=max(left, 0.1),
                    allow_redirects=False,
                    verify=self._verify,
                )
            # OSError: of requests, and of files with certificates. ValueError: a malformed URL.
            except (OSError, ValueError) as error:
                failure = f"{self._endpoint}: {type(error).__name__}"
            else:
                if answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
                    return ""
                failure = f"{self._endpoint} answers {answer.status_code} {answer.reason}"
                if answer.status_code not in RETRYABLE:
                    return failure
                asked = answer.headers.get("Retry-After", "")
                wait = float(asked) if asked.isdecimal() else wait
            if time.monotonic() + wait > deadline or self._stopped.wait(wait):
                return failure
            delay *= 2


def endpoint_of(environment: Mapping[str, str]) -> str:
    """Return the URL for traces: the one for traces as it is, or below the one for all signals."""
    if own := environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip():
        return own
    return f"{environment['OTEL_EXPORTER_OTLP_ENDPOINT'].strip().rstrip('/')}/v1/traces"


def resource_of(version: str) -> Resource:
    """Return the resource: that of the environment, by default of the service ``clipmill``."""
    resource = Resource.create({SERVICE_VERSION: version})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "clipmill"}))
    return resource


def _variable(environment: Mapping[str, str], name: str) -> str:
    """Return the value for traces, else the one for all signals, else ""."""
    own = environment.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}", "").strip()
    return own or environment.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


def _seconds(text: str) -> float:
    try:
        return float(text) if text else TIMEOUT_SECONDS
    except ValueError:
        log.warning("OTEL_EXPORTER_OTLP_TIMEOUT=%s is not a number", text)
        return TIMEOUT_SECONDS
