import asyncio
import logging
from typing import Any

import pytest

from agents.caching.fail_safe_backend import VALUE_BYTES_MAX, FailSafeBackend
from agents.caching.interface import CacheBackend
from tests.unit.agents.builders import Clock
from tests.unit.agents.caching.backends import DictBackend, HangingBackend

OPEN_SECONDS = 5.0
UNREACHABLE = ConnectionError("cannot connect to redis://user:s3cret@somewhere")


class FailSafeHarness:
    def __init__(self, backend: CacheBackend, seconds: float = 1.0) -> None:
        self.clock = Clock()
        self.calls: list[tuple[str, str]] = []
        self.fail_safe = FailSafeBackend(
            backend,
            "toy",
            prefix="p:",
            timeout_seconds=seconds,
            open_seconds=OPEN_SECONDS,
            clock=self.clock,
            report=lambda operation, outcome: self.calls.append((operation, outcome)),
        )


async def test_working_backend_is_used() -> None:
    backend = DictBackend()
    harness = FailSafeHarness(backend)
    await harness.fail_safe.set("a", b"1", 7.0)
    assert (backend.values, backend.ttls) == ({"p:a": b"1"}, {"p:a": 7.0})
    assert (await harness.fail_safe.get("a"), await harness.fail_safe.get("b")) == (b"1", None)
    await harness.fail_safe.delete("a")
    assert backend.values == {}
    assert harness.calls == [("set", "ok"), ("get", "ok"), ("get", "ok"), ("delete", "ok")]


async def call_every_operation(fail_safe: FailSafeBackend) -> None:
    """Call every operation; none may raise."""
    assert await fail_safe.get("a") is None
    await fail_safe.set("a", b"1", 1.0)
    await fail_safe.delete("a")


@pytest.mark.parametrize("error", [UNREACHABLE, TimeoutError(), ValueError("oops"), KeyError()])
async def test_failed_backend_is_skipped_while_open(error: Exception) -> None:
    backend = DictBackend()
    backend.error = error
    harness = FailSafeHarness(backend)
    await call_every_operation(harness.fail_safe)
    assert backend.calls == 1
    harness.clock.now += OPEN_SECONDS - 0.1
    await call_every_operation(harness.fail_safe)
    assert backend.calls == 1
    harness.clock.now += 0.1
    await call_every_operation(harness.fail_safe)
    assert backend.calls == 2
    outcome = "timeout" if isinstance(error, TimeoutError) else "error"
    assert [each[1] for each in harness.calls] == [
        outcome,
        *["skipped"] * 5,
        outcome,
        *["skipped"] * 2,
    ]


async def test_recovered_backend_is_used_again() -> None:
    backend = DictBackend()
    backend.error = UNREACHABLE
    harness = FailSafeHarness(backend)
    await harness.fail_safe.get("a")
    backend.error = None
    backend.values["p:a"] = b"1"
    assert await harness.fail_safe.get("a") is None
    harness.clock.now += OPEN_SECONDS
    assert [await harness.fail_safe.get("a") for _ in range(3)] == [b"1"] * 3


async def test_hanging_backend_times_out() -> None:
    harness = FailSafeHarness(HangingBackend(), seconds=0.01)
    await asyncio.wait_for(call_every_operation(harness.fail_safe), 5)
    assert harness.calls == [("get", "timeout"), ("set", "skipped"), ("delete", "skipped")]


async def test_only_one_trial_call_is_made_after_the_open_time() -> None:
    harness = FailSafeHarness(HangingBackend(), seconds=0.01)
    await harness.fail_safe.get("a")
    harness.clock.now += OPEN_SECONDS
    await asyncio.gather(*(harness.fail_safe.get("a") for _ in range(20)))
    assert [each[1] for each in harness.calls[1:]].count("timeout") == 1


async def test_cancellation_is_propagated() -> None:
    harness = FailSafeHarness(HangingBackend(), seconds=60)
    task = asyncio.create_task(harness.fail_safe.get("a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert harness.calls == []


@pytest.mark.parametrize("value", ["text", 7, ["x"], bytes(VALUE_BYTES_MAX + 1)], ids=type)
async def test_invalid_value_is_a_miss(value: Any) -> None:
    backend = DictBackend()
    backend.values["p:a"] = value
    assert await FailSafeHarness(backend).fail_safe.get("a") is None


@pytest.mark.parametrize(
    ("value", "ttl_seconds"), [(bytes(VALUE_BYTES_MAX + 1), 1.0), (b"1", 0.0), (b"1", -1.0)]
)
async def test_oversized_or_expired_value_is_not_stored(value: bytes, ttl_seconds: float) -> None:
    backend = DictBackend()
    await FailSafeHarness(backend).fail_safe.set("a", value, ttl_seconds)
    assert backend.calls == 0


async def test_log_has_state_changes_only_and_no_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = DictBackend()
    backend.error = UNREACHABLE
    harness = FailSafeHarness(backend)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await harness.fail_safe.get("a")
            harness.clock.now += OPEN_SECONDS
        backend.error = None
        for _ in range(3):
            await harness.fail_safe.get("a")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "toy" in caplog.text
    assert "s3cret" not in caplog.text
