"""delay: holds an event until it is due, then puts it back on the topic of its step.

An event that waits stays in Kafka, uncommitted; what is in memory is only the alarm clock.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from agents.step import unreadable
from streams.metrics import PARKED
from streams.records import Effect, Header, Incoming, Outgoing
from streams.stage import Handler, Stage, StageContext
from streams.topics import BY_NAME, DELAYS, Topic

NAME = "delay"
DUE = "clipmill_due"
TARGET = "clipmill_target"

HELD_PER_TOPIC = 5_000
"""Events of one delay topic that are held at a time; more wait in Kafka. About 5 KB each."""

LONGEST_WAIT_SECONDS = min(topic.retention for topic in DELAYS).total_seconds()
"""A record that waits for longer is gone before it is due."""


def delay_headers(due: datetime, target: Topic) -> tuple[Header, ...]:
    """Return the headers of an event that is to wait: epoch seconds, and the topic afterwards."""
    return ((DUE, f"{due.timestamp():.3f}".encode()), (TARGET, target.name.encode()))


class Delay:
    """The stage's work."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return the event for its topic, when it is due."""
        target = BY_NAME.get(record.header(TARGET) or "")
        due = _seconds(record.header(DUE))
        if target is None or due is None or due - self._clock() > LONGEST_WAIT_SECONDS:
            problem = ValueError(f"headers {TARGET} and {DUE} do not say where to and when")
            return unreadable(record, problem, NAME)
        with PARKED.labels(record.topic).track_inprogress():
            while (wait := due - self._clock()) > 0:
                await self._sleep(wait)
        headers = tuple(each for each in record.headers if each[0] not in {DUE, TARGET})
        return [Outgoing(target, record.key, record.value, headers)]


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
    yield Delay().handle


stage = Stage(
    name=NAME,
    sources=tuple(DELAYS),
    open=open_delay,
    on_bug=on_bug,
    concurrency=lambda _: HELD_PER_TOPIC * len(DELAYS),
    window=lambda _: HELD_PER_TOPIC,
    ordered=False,
    drains=False,
)
