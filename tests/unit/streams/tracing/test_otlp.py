"""Export of spans to a real OTLP receiver over HTTP; speed is not asserted."""

import importlib.util
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.errors import ClipmillError
from streams.observability.metrics import SPANS_DROPPED
from streams.tracing import otlp
from streams.tracing.context import TraceContext
from streams.tracing.otlp import is_enabled, open_tracing
from streams.tracing.otlp_recorder import DEFAULT_RATIO, OtlpRecorder, sampler_of
from streams.tracing.spans import Recorder, Recording, Span, SpanEvent
from tests.otlp_receiver import attributes_of, otlp_receiver

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def span(number: int = 1, **changes: Any) -> Span:
    fields: dict[str, Any] = {
        "name": "process p.requests.v1",
        "kind": "consumer",
        "context": TraceContext(TRACE, f"{number:016x}", 3, "congo=1"),
        "parent_id": "00f067aa0ba902b7",
        "start": 1_700_000_000_000_000_000,
        "end": 1_700_000_000_500_000_000,
        "attributes": {"messaging.kafka.offset": 7},
    }
    return Span(**(fields | changes))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    yield
    assert Recording.recorder is None


def dropped(reason: str) -> float:
    return float(SPANS_DROPPED.labels(reason)._value.get())


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: " "}, False),
        ({ENDPOINT: "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "false"}, True),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
def test_endpoint_enables_tracing(environment: dict[str, str], *, wanted: bool) -> None:
    assert is_enabled(environment) is wanted


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "use otlp or none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "use gzip, deflate or none"),
    ],
)
def test_unsupported_option_is_rejected(name: str, value: str, message: str) -> None:
    with pytest.raises(ClipmillError, match=message):
        is_enabled({ENDPOINT: "http://127.0.0.1:4318", name: value})


def test_missing_extra_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ClipmillError, match=r"pip install 'clipmill\[tracing\]'"):
        is_enabled({ENDPOINT: "http://127.0.0.1:4318"})
    assert not is_enabled({})


@pytest.mark.parametrize(
    ("environment", "described"),
    [
        ({}, f"root:TraceIdRatioBased{{{DEFAULT_RATIO}}}"),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.5"}, "root:TraceIdRatioBased{0.5}"),
        ({"OTEL_TRACES_SAMPLER_ARG": "7"}, f"root:TraceIdRatioBased{{{DEFAULT_RATIO}}}"),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, "AlwaysOnSampler"),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
            "root:TraceIdRatioBased{0.1}",
        ),
    ],
)
def test_sampler_is_the_configured_one_or_the_default_ratio(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], described: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert described in sampler_of(environment).get_description()


@pytest.mark.parametrize(
    ("sampler", "flags", "samples"),
    [
        ("parentbased_always_off", 1, True),
        ("parentbased_always_on", 0, False),
        ("always_on", 0, True),
        ("always_off", 1, False),
    ],
)
async def test_client_s_sampled_flag_is_honoured_by_parent_based_samplers(
    monkeypatch: pytest.MonkeyPatch, sampler: str, flags: int, *, samples: bool
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    with otlp_receiver() as receiver:
        async with open_tracing({ENDPOINT: receiver.endpoint, "OTEL_TRACES_SAMPLER": sampler}):
            recorder = Recording.recorder
            assert recorder is not None
            assert recorder.samples(TraceContext(TRACE, "0" * 15 + "1", flags)) is samples


async def export(monkeypatch: pytest.MonkeyPatch, endpoint: str, *spans: Span) -> None:
    monkeypatch.setenv(ENDPOINT, endpoint)
    async with open_tracing():
        recorder = Recording.recorder
        assert recorder is not None
        for each in spans:
            recorder.record(each)


async def test_span_is_exported_with_all_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mill")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    event = SpanEvent("failure", 1_700_000_000_000_000_001, {"error.type": "network.timeout"})
    link = TraceContext("c" * 32, "d" * 16)
    with otlp_receiver() as receiver:
        await export(
            monkeypatch,
            receiver.endpoint,
            span(links=(link,), events=(event,), error="network.timeout"),
        )
    (found,) = receiver.spans
    assert (found.trace_id.hex(), found.span_id.hex()) == (TRACE, "0" * 15 + "1")
    assert found.parent_span_id.hex() == "00f067aa0ba902b7"
    assert (found.trace_state, found.kind, found.status.code) == ("congo=1", 5, 2)
    assert found.end_time_unix_nano - found.start_time_unix_nano == 500_000_000
    assert attributes_of(found) == {
        "messaging.kafka.offset": "7",
        "error.type": "network.timeout",
    }
    assert [each.span_id.hex() for each in found.links] == ["d" * 16]
    assert [attributes_of(each) for each in found.events] == [{"error.type": "network.timeout"}]
    (resource,) = receiver.resources
    assert resource["service.name"] == "mill"
    assert resource["deployment.environment.name"] == "test"
    assert resource["service.version"]


async def test_default_service_name_is_clipmill(monkeypatch: pytest.MonkeyPatch) -> None:
    with otlp_receiver() as receiver:
        await export(monkeypatch, receiver.endpoint, span())
    assert receiver.resources[0]["service.name"] == "clipmill"


async def test_full_queue_drops_and_counts_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "512")
    monkeypatch.setattr(OtlpRecorder, "queued", property(lambda _self: 512))
    before = dropped("queue_full")
    with otlp_receiver() as receiver:
        await export(monkeypatch, receiver.endpoint, *map(span, range(1, 6)))
    assert receiver.spans == []
    assert dropped("queue_full") == before + 5


async def test_spans_rejected_by_the_collector_are_counted_as_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = dropped("export_failed")
    with otlp_receiver(status=400) as receiver:
        await export(monkeypatch, receiver.endpoint, *map(span, range(1, 6)))
    assert dropped("export_failed") == before + 5


async def test_shutdown_does_not_wait_for_an_unavailable_collector(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    monkeypatch.setattr(OtlpRecorder, "close", lambda _self: released.wait(10))
    monkeypatch.setattr(otlp, "FLUSH_SECONDS", 0.0)
    before = dropped("shutdown")
    with caplog.at_level(logging.WARNING):
        await export(monkeypatch, "http://127.0.0.1:9", span())
    assert dropped("shutdown") == before + 1
    released.set()
    assert "1 spans are not exported" in caplog.text


async def test_tracing_without_endpoint_has_no_recorder() -> None:
    async with open_tracing({}):
        found: Recorder | None = Recording.recorder
        assert found is None
