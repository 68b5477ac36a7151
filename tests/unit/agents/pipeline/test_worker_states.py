from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from agents.pipeline.cache_states import KIND
from agents.pipeline.worker_states import CHANGE_SECONDS, WorkerStates
from schemas.codec import decode
from schemas.contract.examples import CACHE_STATE
from schemas.signals import WORKER_STATE_SECONDS, CacheState
from streams.topics import SIGNALS

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "cache/extraction/box"


def reader(number: int) -> Callable[[datetime], CacheState]:
    """Return a function that reads the figures of a number of changes."""
    (first, *rest) = CACHE_STATE.caches
    changed = msgspec.structs.replace(first, evictions={"ttl": number})
    return lambda now: msgspec.structs.replace(CACHE_STATE, caches=(changed, *rest), at=now)


def after(seconds: float, number: int) -> bool:
    """Return whether a state is published this long after the first one."""
    states = WorkerStates(KEY, KIND, "extraction")
    assert states.update(reader(0), START)
    return bool(states.update(reader(number), START + timedelta(seconds=seconds)))


@pytest.mark.parametrize(
    ("seconds", "number", "expected"),
    [
        (CHANGE_SECONDS - 1, 1, False),
        (CHANGE_SECONDS, 1, True),
        (CHANGE_SECONDS, 0, False),
        (WORKER_STATE_SECONDS - 1, 0, False),
        (WORKER_STATE_SECONDS, 0, True),
        # The clock was set back.
        (-WORKER_STATE_SECONDS, 0, True),
    ],
)
def test_state_is_published_when_it_has_changed_or_is_old(
    seconds: float, number: int, expected: bool
) -> None:
    assert after(seconds, number) is expected


def test_figures_are_not_read_until_they_may_be_due() -> None:
    states = WorkerStates(KEY, KIND, "extraction")
    states.update(reader(0), START)

    def read(_now: datetime) -> CacheState:
        raise AssertionError

    assert states.update(read, START + timedelta(seconds=1)) == []


def test_record_has_the_key_and_the_state() -> None:
    (record,) = WorkerStates(KEY, KIND, "extraction").update(reader(3), START)
    assert record.topic is SIGNALS
    assert record.key == KEY.encode()
    assert record.value is not None
    assert decode(record.value, CacheState) == reader(3)(START)
