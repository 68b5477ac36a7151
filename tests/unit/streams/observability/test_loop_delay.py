import asyncio
from types import SimpleNamespace

import pytest

from streams.observability import loop_delay as module
from streams.observability.loop_delay import SAMPLE_SECONDS, measure_loop_delay
from streams.observability.metrics import REGISTRY


class FakeLoop:
    """Fake clock and sleep with given durations."""

    def __init__(self, *sleeps: float) -> None:
        self.now = 0.0
        self.sleeps = list(sleeps)

    def perf_counter(self) -> float:
        return self.now

    async def sleep(self, _seconds: float) -> None:
        if not self.sleeps:
            raise asyncio.CancelledError
        self.now += self.sleeps.pop(0)


def observed() -> list[float]:
    """Return the number of observations, their sum, and the number of at most a millisecond."""
    name, labels = "clipmill_event_loop_delay_seconds", {"thread": "main"}
    return [
        REGISTRY.get_sample_value(f"{name}_count", labels) or 0.0,
        REGISTRY.get_sample_value(f"{name}_sum", labels) or 0.0,
        REGISTRY.get_sample_value(f"{name}_bucket", labels | {"le": "0.001"}) or 0.0,
    ]


async def test_delay_of_each_timer_is_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = FakeLoop(SAMPLE_SECONDS, SAMPLE_SECONDS + 2, SAMPLE_SECONDS - 0.001)
    monkeypatch.setattr(module, "time", loop)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=loop.sleep))
    before = observed()
    with pytest.raises(asyncio.CancelledError):
        await measure_loop_delay()
    assert [after - first for after, first in zip(observed(), before, strict=True)] == [
        3,
        pytest.approx(2),
        2,
    ]
