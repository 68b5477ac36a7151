"""The queue of encoded spans: batches, limits, shutdown."""

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from streams.observability.metrics import SPANS_DROPPED
from streams.tracing.context import TraceContext
from streams.tracing.otlp_exporter import OtlpExporter
from streams.tracing.otlp_recorder import OtlpRecorder, QueueLimits
from streams.tracing.spans import Span

SPAN = Span(name="n", kind="client", context=TraceContext("a" * 32, "b" * 16), parent_id="")


class BatchSizes:
    """Records the sizes of the batches; ``open`` lets exports end."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.open = threading.Event()
        self.open.set()

    def export(self, spans: list[bytes]) -> bool:
        self.sizes.append(len(spans))
        return self.open.wait(10)

    def shutdown(self) -> None:
        self.open.set()


def recorder(exporter: BatchSizes, **limits: int) -> OtlpRecorder:
    return OtlpRecorder(cast("OtlpExporter", exporter), ALWAYS_ON, QueueLimits(**limits))


def record(target: OtlpRecorder, count: int) -> None:
    for _ in range(count):
        target.record(SPAN)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_full_batch_is_exported_at_once_and_the_rest_on_shutdown() -> None:
    exporter = BatchSizes()
    target = recorder(exporter, batch=10, delay_ms=600_000)
    record(target, 23)
    wait_until(lambda: target.queued < 10)
    assert set(exporter.sizes) == {10}
    target.close()
    assert (sum(exporter.sizes), target.queued) == (23, 0)


def test_smaller_batch_is_exported_after_the_delay() -> None:
    exporter = BatchSizes()
    target = recorder(exporter, delay_ms=20)
    record(target, 3)
    wait_until(lambda: sum(exporter.sizes) == 3)
    target.close()


def test_spans_beyond_the_limit_are_dropped_while_an_export_lasts() -> None:
    exporter = BatchSizes()
    exporter.open.clear()
    before = SPANS_DROPPED.labels("queue_full")._value.get()
    target = recorder(exporter, spans=4, batch=2, delay_ms=600_000)
    record(target, 2)
    wait_until(lambda: exporter.sizes == [2])
    record(target, 7)
    assert target.queued == 4
    assert SPANS_DROPPED.labels("queue_full")._value.get() == before + 3
    exporter.open.set()
    target.close()
    assert sum(exporter.sizes) == 6


def test_batch_is_at_most_the_queue() -> None:
    exporter = BatchSizes()
    target = recorder(exporter, spans=5, batch=512, delay_ms=600_000)
    record(target, 5)
    wait_until(lambda: exporter.sizes == [5])
    target.close()


@pytest.mark.parametrize(
    ("environment", "limits"),
    [
        ({}, QueueLimits()),
        (
            {
                "OTEL_BSP_MAX_QUEUE_SIZE": "9",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": " 8",
                "OTEL_BSP_SCHEDULE_DELAY": "7",
            },
            QueueLimits(9, 8, 7),
        ),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0", "OTEL_BSP_SCHEDULE_DELAY": "-1"}, QueueLimits()),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"}, QueueLimits()),
    ],
)
def test_limits_are_those_of_the_environment(environment: dict[str, Any], limits: Any) -> None:
    assert QueueLimits.of(environment) == limits
