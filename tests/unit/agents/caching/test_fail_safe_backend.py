import asyncio
import logging
from typing import Any

import pytest

from agents.caching.fail_safe_backend import VALUE_BYTES_MAX, GuardedBackend
from agents.caching.interface import CacheBackend
from tests.unit.agents.builders import Clock
from tests.unit.agents.caching.backends import Dictionary, Slow

REST = 5.0
AWAY = ConnectionError("cannot connect to redis://user:s3cret@somewhere")


class Kit:
    def __init__(self, backend: CacheBackend, seconds: float = 1.0) -> None:
        self.clock = Clock()
        self.calls: list[tuple[str, str]] = []
        self.guarded = GuardedBackend(
            backend,
            "toy",
            prefix="p:",
            timeout_seconds=seconds,
            rest_seconds=REST,
            clock=self.clock,
            report=lambda operation, outcome: self.calls.append((operation, outcome)),
        )


async def test_what_is_well_is_used_as_it_is() -> None:
    backend = Dictionary()
    kit = Kit(backend)
    await kit.guarded.set("a", b"1", 7.0)
    assert (backend.values, backend.lives) == ({"p:a": b"1"}, {"p:a": 7.0})
    assert (await kit.guarded.get("a"), await kit.guarded.get("b")) == (b"1", None)
    await kit.guarded.delete("a")
    assert backend.values == {}
    assert kit.calls == [("set", "ok"), ("get", "ok"), ("get", "ok"), ("delete", "ok")]


async def use(guarded: GuardedBackend) -> None:
    """Every operation: none may raise."""
    assert await guarded.get("a") is None
    await guarded.set("a", b"1", 1.0)
    await guarded.delete("a")


@pytest.mark.parametrize("error", [AWAY, TimeoutError(), ValueError("oops"), KeyError()])
async def test_what_fails_is_left_alone_for_a_while(error: Exception) -> None:
    backend = Dictionary()
    backend.away = error
    kit = Kit(backend)
    await use(kit.guarded)
    assert backend.calls == 1
    kit.clock.now += REST - 0.1
    await use(kit.guarded)
    assert backend.calls == 1
    kit.clock.now += 0.1
    await use(kit.guarded)
    assert backend.calls == 2
    outcome = "timeout" if isinstance(error, TimeoutError) else "error"
    assert [each[1] for each in kit.calls] == [outcome, *["skipped"] * 5, outcome, *["skipped"] * 2]


async def test_what_answers_again_is_used_again() -> None:
    backend = Dictionary()
    backend.away = AWAY
    kit = Kit(backend)
    await kit.guarded.get("a")
    backend.away = None
    backend.values["p:a"] = b"1"
    assert await kit.guarded.get("a") is None
    kit.clock.now += REST
    assert [await kit.guarded.get("a") for _ in range(3)] == [b"1"] * 3


async def test_what_is_slow_is_cut_off() -> None:
    kit = Kit(Slow(), seconds=0.01)
    await asyncio.wait_for(use(kit.guarded), 5)
    assert kit.calls == [("get", "timeout"), ("set", "skipped"), ("delete", "skipped")]


async def test_only_one_tries_whether_it_is_back() -> None:
    kit = Kit(Slow(), seconds=0.01)
    await kit.guarded.get("a")
    kit.clock.now += REST
    await asyncio.gather(*(kit.guarded.get("a") for _ in range(20)))
    assert [each[1] for each in kit.calls[1:]].count("timeout") == 1


async def test_who_is_cancelled_is_cancelled() -> None:
    kit = Kit(Slow(), seconds=60)
    asking = asyncio.create_task(kit.guarded.get("a"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert kit.calls == []


@pytest.mark.parametrize("value", ["text", 7, ["x"], bytes(VALUE_BYTES_MAX + 1)], ids=type)
async def test_what_cannot_be_ours_is_not_believed(value: Any) -> None:
    backend = Dictionary()
    backend.values["p:a"] = value
    assert await Kit(backend).guarded.get("a") is None


@pytest.mark.parametrize(
    ("value", "life"), [(bytes(VALUE_BYTES_MAX + 1), 1.0), (b"1", 0.0), (b"1", -1.0)]
)
async def test_what_is_too_large_or_over_is_not_sent(value: bytes, life: float) -> None:
    backend = Dictionary()
    await Kit(backend).guarded.set("a", value, life)
    assert backend.calls == 0


async def test_the_log_tells_of_changes_only_and_no_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Dictionary()
    backend.away = AWAY
    kit = Kit(backend)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await kit.guarded.get("a")
            kit.clock.now += REST
        backend.away = None
        for _ in range(3):
            await kit.guarded.get("a")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "toy" in caplog.text
    assert "s3cret" not in caplog.text
