"""Shared state of all workers: the newest value of every key of the compacted topic ``signals``.

Every process reads the topic from its start and without a group, so it knows the state of all
breakers before its stages start, and every change within milliseconds. Writing is like all
writing: a record for the topic, from whoever owns the key.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.cluster.connection import consumer_options
from streams.cluster.record_batches import OBSERVER, BatchObserver
from streams.settings import KafkaSettings
from streams.topics import SIGNALS

log = logging.getLogger(__name__)

KEYS_MAX = 500_000
"""Keys known at a time, about 300 bytes each; the oldest are forgotten first. Two weeks of one
cancelled request every three seconds."""

POLL_MILLISECONDS = 1_000
RETRY_SECONDS = 1.0

Listener = Callable[[str, bytes | None], object]
"""Called with key and new value (None: deleted) of a change."""


@dataclass(frozen=True, slots=True)
class _Received:
    """A value and its arrival in this process.

    Attributes:
        value: the body of the record.
        at: second of its arrival, monotonic.
        live: it arrived as it was published; otherwise it was published at any time before.
    """

    value: bytes
    at: float
    live: bool


class SharedState:
    """The state as this process knows it.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[str, _Received] = {}
        self._watchers: dict[str, list[Callable[[], object]]] = {}
        self._listeners: list[tuple[str, Listener]] = []

    def get(self, key: str) -> bytes | None:
        """Return the newest value of a key, None when there is none."""
        received = self._values.get(key)
        return None if received is None else received.value

    def published_at(self, key: str, at: datetime, now: datetime) -> datetime:
        """Return when the newest value of a key was published, by the clock of this process.

        Clocks of workers can differ by minutes. So the arrival of a value counts; of one that is
        older than this process only its writer knows the time (``at``), and it is not later than
        the arrival.
        """
        received = self._values.get(key)
        if received is None:
            return at
        arrival = now - timedelta(seconds=self._clock() - received.at)
        return arrival if received.live else min(at, arrival)

    def items(self, prefix: str) -> list[tuple[str, bytes]]:
        """Return keys and values of all keys that begin so."""
        return [(key, each.value) for key, each in self._values.items() if key.startswith(prefix)]

    def put(self, key: str, value: bytes | None, *, live: bool = True) -> None:
        """Take note of a change and tell everybody who waits for it."""
        before = self._values.pop(key, None)
        if value is not None:
            # A reader that starts again reads what is known.
            if before is None or before.value != value:
                before = _Received(value, self._clock(), live)
            self._values[key] = before
            if len(self._values) > KEYS_MAX:
                del self._values[next(iter(self._values))]
        for callback in tuple(self._watchers.get(key, ())):
            callback()
        for prefix, listener in self._listeners:
            if key.startswith(prefix):
                listener(key, value)

    @contextmanager
    def watch(self, *keys: str, callback: Callable[[], object]) -> Iterator[None]:
        """Call a function whenever one of these keys changes."""
        for key in keys:
            self._watchers.setdefault(key, []).append(callback)
        try:
            yield
        finally:
            for key in keys:
                self._watchers[key].remove(callback)
                if not self._watchers[key]:
                    del self._watchers[key]

    @contextmanager
    def listen(self, prefix: str, listener: Listener) -> Iterator[None]:
        """Call a function at every change of keys that begin so; first for what is there."""
        entry = (prefix, listener)
        self._listeners.append(entry)
        for key, value in self.items(prefix):
            listener(key, value)
        try:
            yield
        finally:
            self._listeners.remove(entry)


@asynccontextmanager
async def following(
    kafka: KafkaSettings, observer: BatchObserver | None = None
) -> AsyncIterator[SharedState]:
    """Give the state, complete as of now, and keep it up to date while the context lasts."""
    signals = SharedState()
    complete = asyncio.Event()
    context = copy_context()
    if observer is not None:
        context.run(OBSERVER.set, observer)
    task = asyncio.create_task(_follow(kafka, signals, complete), context=context)
    try:
        waiting = asyncio.create_task(complete.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        yield signals
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow(kafka: KafkaSettings, signals: SharedState, complete: asyncio.Event) -> None:
    """Read for ever; a reader that fails is replaced by one that starts from the beginning."""
    while True:
        try:
            await _read(kafka, signals, complete)
        except KafkaError as error:
            log.warning("signals cannot be read, trying again: %r", error)
            await asyncio.sleep(RETRY_SECONDS)


async def _read(kafka: KafkaSettings, signals: SharedState, complete: asyncio.Event) -> None:
    place = TopicPartition(SIGNALS.kafka_name(kafka.topic_prefix), 0)
    consumer = AIOKafkaConsumer(**consumer_options(kafka, "signals"), auto_offset_reset="earliest")
    try:
        await consumer.start()
        # Before the first fetch: the broker answers behind it, after half a second of waiting.
        end = (await consumer.end_offsets([place]))[place]
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        while True:
            if not complete.is_set() and await consumer.position(place) >= end:
                complete.set()
            for record in (await consumer.getmany(timeout_ms=POLL_MILLISECONDS)).get(place, ()):
                key = (record.key or b"").decode(errors="replace")
                signals.put(key, record.value, live=complete.is_set())
    finally:
        # aiokafka lets the cancellation of its own waiting fetch escape while a broker is away.
        with suppress(asyncio.CancelledError):
            await consumer.stop()
