"""delay: delayed retries. Holds an event until it is due, then forwards it to its step's topic.

A waiting event stays in Kafka with its offset uncommitted, so a crash loses no retry. Memory holds
only the timers, in `streams.runtime.delay_queue`.
"""

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from agents.pipeline.events import DUE, EVENT_SOURCES, TARGET
from agents.pipeline.failures import on_unreadable
from streams import AUDIT, Claim, Effect, Handler, Incoming, Stage, StageContext, claim_of
from streams.envelope import forward
from streams.runtime.back_pressure import RETRY_BONUS
from streams.topics import BY_NAME, DELAYS, READERS

NAME = "delay"

IN_FLIGHT_PER_TOPIC = 20_000
"""Events in flight per delay topic, 1 to 2 KB each; further ones stay unread in Kafka."""

TOPIC_DELAY_SECONDS = {
    topic.name: wait.total_seconds() for topic, wait in list(DELAYS.items())[:-1]
}
"""Longest delay of each delay topic; the last topic has no limit and takes all longer delays."""

MAX_DELAY_SECONDS = min(topic.retention for topic in DELAYS).total_seconds()
"""Shortest retention of the delay topics: a record with a longer delay expires before it is due."""


def due_at(record: Incoming, now: float) -> float | None:
    """Return when an event is due, epoch seconds; None when its headers are missing or invalid.

    The due time comes from the producer's clock. To bound clock skew, the remaining wait is capped
    by the delay at the time of writing and by the longest delay of the topic.
    """
    due = _seconds(record.header(DUE))
    if due is None or record.header(TARGET) not in BY_NAME:
        return None
    wait = due - record.timestamp
    if wait > MAX_DELAY_SECONDS:
        return None
    return min(due, now + max(0.0, min(wait, TOPIC_DELAY_SECONDS.get(record.topic, wait))))


def claim(record: Incoming) -> Claim:
    """Return the claim of a due event: back-pressure capacity of its target stage."""
    target = BY_NAME.get(record.header(TARGET) or "")
    claimed = claim_of(record, (target,) if target in READERS else ())
    return msgspec.structs.replace(claimed, rank=claimed.rank + RETRY_BONUS)


async def handle(record: Incoming) -> Sequence[Effect]:
    """Forward an event that is due, or whose request was cancelled, to its target topic."""
    if due_at(record, time.time()) is None:
        problem = ValueError(
            f"headers {TARGET} and {DUE} do not name the target topic and the due time"
        )
        return on_unreadable(record, problem, NAME)
    target = BY_NAME[record.header(TARGET) or ""]
    return [forward(record, target, without=(DUE, TARGET))]


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    return on_unreadable(record, error, NAME)


@asynccontextmanager
async def open_delay(_context: StageContext) -> AsyncIterator[Handler]:
    yield handle


stage = Stage(
    name=NAME,
    sources=tuple(DELAYS),
    open=open_delay,
    on_bug=on_bug,
    writes=(*EVENT_SOURCES, AUDIT),
    purpose="holds events until they are due",
    window=lambda _: IN_FLIGHT_PER_TOPIC,
    ordered=False,
    drains=False,
    claim=claim,
    due=due_at,
)
