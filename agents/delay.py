"""delay: holds an event until it is due, then puts it back on the topic of its step.

An event that waits stays in Kafka, uncommitted; what is in memory is only the alarm clock, in
`streams.runtime.delay_queue`.
"""

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from agents.pipeline.events import DUE, TARGET
from agents.pipeline.failures import unreadable
from streams.claims import Claim, claim_of
from streams.envelope import pass_on
from streams.records import Effect, Incoming
from streams.runtime.back_pressure import RETRY_BONUS
from streams.stage import Handler, Stage, StageContext
from streams.topics import BY_NAME, DELAYS, READERS

NAME = "delay"

HELD_PER_TOPIC = 20_000
"""Events of one delay topic that are held at a time, 1 to 2 KB each; more wait in Kafka."""

TOPIC_SECONDS = {topic.name: wait.total_seconds() for topic, wait in list(DELAYS.items())[:-1]}
"""Longest wait of each delay topic; the last one also takes what waits longer."""

LONGEST_WAIT_SECONDS = min(topic.retention for topic in DELAYS).total_seconds()
"""A record that waits for longer is gone before it is due."""


def due_of(record: Incoming, now: float) -> float | None:
    """Return when an event is due, epoch seconds; None when its headers do not say it.

    The due time is of the clock of who sent it here. It waits no longer from now on than it was to
    wait when it was written, nor than its topic is for, whatever this clock says.
    """
    due = _seconds(record.header(DUE))
    if due is None or record.header(TARGET) not in BY_NAME:
        return None
    wait = due - record.timestamp
    if wait > LONGEST_WAIT_SECONDS:
        return None
    return min(due, now + max(0.0, min(wait, TOPIC_SECONDS.get(record.topic, wait))))


def claim(record: Incoming) -> Claim:
    """Return what an event needs when it is due: room in front of the stage that it goes to."""
    target = BY_NAME.get(record.header(TARGET) or "")
    waited = claim_of(record, (target,) if target in READERS else ())
    return msgspec.structs.replace(waited, rank=waited.rank + RETRY_BONUS)


async def handle(record: Incoming) -> Sequence[Effect]:
    """Return the event for its topic; it is due, or taken back."""
    if due_of(record, time.time()) is None:
        problem = ValueError(f"headers {TARGET} and {DUE} do not say where to and when")
        return unreadable(record, problem, NAME)
    target = BY_NAME[record.header(TARGET) or ""]
    return [pass_on(record, target, without=(DUE, TARGET))]


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return the record as a dead letter, and an outcome for whose it was."""
    return unreadable(record, error, NAME)


@asynccontextmanager
async def open_delay(_context: StageContext) -> AsyncIterator[Handler]:
    """Nothing to open."""
    yield handle


stage = Stage(
    name=NAME,
    sources=tuple(DELAYS),
    open=open_delay,
    on_bug=on_bug,
    window=lambda _: HELD_PER_TOPIC,
    ordered=False,
    drains=False,
    claim=claim,
    due=due_of,
)
