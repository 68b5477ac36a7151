"""Requests of the exporter to a real OTLP receiver, by the variables of the environment."""

import threading
import time
from typing import Any

import certifi
import pytest

from streams.tracing.context import TraceContext
from streams.tracing.otlp_encoding import encode_span
from streams.tracing.otlp_exporter import OtlpExporter, endpoint_of, resource_of
from streams.tracing.spans import Span
from tests.otlp_receiver import OtlpReceiver, otlp_receiver

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
BATCH = [
    encode_span(
        Span(name="n", kind="client", context=TraceContext("a" * 32, f"{n:016x}"), parent_id="")
    )
    for n in range(1, 4)
]


def exporter(receiver: OtlpReceiver, **variables: str) -> OtlpExporter:
    environment = {ENDPOINT: receiver.endpoint}
    environment |= {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    return OtlpExporter(environment, resource_of("1.2"))


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.tracing.otlp_exporter.BACKOFF_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({ENDPOINT: "http://c:4318"}, "http://c:4318/v1/traces"),
        ({ENDPOINT: " http://c:4318/base/ "}, "http://c:4318/base/v1/traces"),
        ({TRACES_ENDPOINT: "http://t/otlp", ENDPOINT: "http://c:4318"}, "http://t/otlp"),
    ],
)
def test_endpoint_for_traces_is_used_as_it_is(environment: dict[str, str], url: str) -> None:
    assert endpoint_of(environment) == url


@pytest.mark.parametrize("compression", ["", "none", "gzip", "deflate", "GZIP"])
def test_batch_is_sent_in_one_request_with_its_headers(compression: str) -> None:
    variables = {"COMPRESSION": compression, "HEADERS": "api-key=a%20b,x-team=mill"}
    with otlp_receiver() as receiver:
        sent = exporter(receiver, **variables)
        assert sent.export(BATCH)
    assert len(receiver.spans) == 3
    ((path, headers),) = receiver.calls
    assert path == "/v1/traces"
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["user-agent"] == "clipmill/1.2"
    assert (headers["api-key"], headers["x-team"]) == ("a b", "mill")


def test_variable_for_traces_is_preferred() -> None:
    with otlp_receiver() as receiver:
        sent = exporter(receiver, HEADERS="a=all", TRACES_HEADERS="a=traces")
        assert sent.export(BATCH)
    assert receiver.calls[0][1]["a"] == "traces"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_temporary_refusal_is_repeated(status: int) -> None:
    with otlp_receiver(first=(status, status)) as receiver:
        assert exporter(receiver).export(BATCH)
    assert (len(receiver.calls), len(receiver.spans)) == (3, 3)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 500])
def test_other_refusal_is_final(status: int, caplog: pytest.LogCaptureFixture) -> None:
    with otlp_receiver(status) as receiver:
        assert not exporter(receiver).export(BATCH)
    assert len(receiver.calls) == 1
    assert (
        f"3 spans are not exported: {receiver.endpoint}/v1/traces answers {status}" in caplog.text
    )


def test_wait_asked_for_beyond_the_timeout_ends_the_export() -> None:
    with otlp_receiver(503, headers={"Retry-After": "60"}) as receiver:
        assert not exporter(receiver, TIMEOUT="1").export(BATCH)
    assert len(receiver.calls) == 1


def test_unreachable_collector_is_tried_until_the_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = OtlpExporter(
        {ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"}, resource_of("1")
    )
    began = time.monotonic()
    assert not sent.export(BATCH)
    assert time.monotonic() - began < 5
    assert "http://127.0.0.1:9/v1/traces: ConnectionError" in caplog.text


def test_missing_certificate_fails_the_export_without_naming_credentials(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    environment = {
        ENDPOINT: "https://user:s3cret@127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "missing.pem",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2",
    }
    assert not OtlpExporter(environment, resource_of("1")).export(BATCH)
    assert "https://127.0.0.1:9/v1/traces: OSError" in caplog.text
    assert "s3cret" not in caplog.text


def test_shutdown_interrupts_the_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.tracing.otlp_exporter.BACKOFF_SECONDS", 60.0)
    with otlp_receiver(503) as receiver:
        sent = exporter(receiver, TIMEOUT="600")
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(sent.export(BATCH)))
        thread.start()
        while not receiver.calls:
            time.sleep(0.01)
        sent.shutdown()
        thread.join(10)
    assert results == [False]


def test_timeout_that_is_no_number_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    with otlp_receiver() as receiver:
        assert exporter(receiver, TIMEOUT="soon").export(BATCH)
    assert "OTEL_EXPORTER_OTLP_TIMEOUT=soon is not a number" in caplog.text


def test_certificates_are_those_of_the_environment() -> None:
    with otlp_receiver() as receiver:
        sent = exporter(
            receiver, CERTIFICATE="ca.pem", CLIENT_CERTIFICATE="c.pem", CLIENT_KEY="k.pem"
        )
    assert sent._verify == "ca.pem"
    assert sent._session.cert == ("c.pem", "k.pem")
