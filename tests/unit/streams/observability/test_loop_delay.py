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


async def test_delay_of_each_timer_is_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = FakeLoop(SAMPLE_SECONDS, SAMPLE_SECONDS + 2, SAMPLE_SECONDS - 0.001)
    monkeypatch.setattr(module, "time", loop)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=loop.sleep))
    with pytest.raises(asyncio.CancelledError):
        await measure_loop_delay("late-test")
    labels = {"thread": "late-test"}
    name = "clipmill_event_loop_delay_seconds"
    assert REGISTRY.get_sample_value(f"{name}_count", labels) == 3
    assert REGISTRY.get_sample_value(f"{name}_sum", labels) == pytest.approx(2)
    assert REGISTRY.get_sample_value(f"{name}_bucket", labels | {"le": "0.001"}) == 2
