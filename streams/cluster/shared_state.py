"""State that all workers share: a global table of the compacted topic ``signals``.

Every process consumes the topic from its beginning and without a group, so it has the complete
state before its stages start, and every change within milliseconds. The state is read-only here:
a change is a record for the topic, published by the single writer of its key. Log compaction keeps
the latest value of each key in the topic. Eviction removes the oldest keys beyond `KEYS_MAX` from
memory.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.codec import MalformedMessageError, decode
from streams.cluster.connection import consumer_options, stop_consumer
from streams.cluster.record_batches import OBSERVER, BatchObserver
from streams.settings import KafkaSettings
from streams.topics import SIGNALS

log = logging.getLogger(__name__)

KEYS_MAX = 500_000
"""Keys in memory, about 300 bytes each; the oldest are evicted first. Two weeks of one cancelled
request every three seconds."""

POLL_MILLISECONDS = 1_000
RETRY_SECONDS = 1.0

Signal = TypeVar("Signal")

Listener = Callable[[str, bytes | None], object]
"""Called with key and new value (None: deleted) of a change."""


@dataclass(slots=True)
class _Received:
    """A value and its arrival in this process.

    Attributes:
        value: value of the record.
        at: time of its arrival, monotonic seconds.
        live: consumed as it was published; otherwise it was published at any time before.
        kind: type that the value was last decoded as.
        decoded: the decoded value.
    """

    value: bytes
    at: float
    live: bool
    kind: Any = None
    decoded: Any = None


class SharedState:
    """The state as consumed by this process so far.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[str, _Received] = {}
        # Keys by their kind: 100,000 cancelled requests must not slow the listing of ten breakers.
        self._keys: dict[str, dict[str, None]] = {}
        self._watchers: dict[str, list[Callable[[], object]]] = {}
        self._listeners: list[tuple[str, Listener]] = []

    def get(self, key: str) -> bytes | None:
        received = self._values.get(key)
        return None if received is None else received.value

    def read(self, key: str, kind: type[Signal]) -> Signal | None:
        """Return the decoded value of a key, None when there is none, or it is malformed.

        A value is decoded once: readers ask for it on every attempt.
        """
        received = self._values.get(key)
        if received is None:
            return None
        if received.kind is not kind:
            received.kind, received.decoded = kind, None
            with suppress(MalformedMessageError):
                received.decoded = decode(received.value, kind)
        decoded: Signal | None = received.decoded
        return decoded

    def published_at(self, key: str, at: datetime, now: datetime) -> datetime:
        """Return when the newest value of a key was published, by the clock of this process.

        Clocks of workers can differ by minutes, so the arrival of a value counts. The age of a
        value from before this process's start is known only by its writer's time ``at``; the result
        is never later than the arrival.
        """
        received = self._values.get(key)
        if received is None:
            return at
        arrival = now - timedelta(seconds=self._clock() - received.at)
        return arrival if received.live else min(at, arrival)

    def items(self, prefix: str) -> list[tuple[str, bytes]]:
        """Return the keys with a prefix, and their values."""
        kind, slash, _ = prefix.partition("/")
        keys = self._keys.get(kind, {}) if slash else self._values
        return [(key, self._values[key].value) for key in keys if key.startswith(prefix)]

    def put(self, key: str, value: bytes | None, *, live: bool = True) -> None:
        """Apply a change and notify its watchers and listeners."""
        before = self._forget(key)
        if value is not None:
            # A restarted reader reads known values again, whose arrival must not change.
            if before is None or before.value != value:
                before = _Received(value, self._clock(), live)
            self._values[key] = before
            self._keys.setdefault(_kind_of(key), {})[key] = None
            if len(self._values) > KEYS_MAX:
                self._forget(next(iter(self._values)))
        for callback in tuple(self._watchers.get(key, ())):
            callback()
        for prefix, listener in self._listeners:
            if key.startswith(prefix):
                listener(key, value)

    def _forget(self, key: str) -> _Received | None:
        received = self._values.pop(key, None)
        if received is not None:
            keys = self._keys[_kind_of(key)]
            del keys[key]
            if not keys:
                del self._keys[_kind_of(key)]
        return received

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
        """Call a function at every change of keys with a prefix; first for the existing ones."""
        entry = (prefix, listener)
        self._listeners.append(entry)
        for key, value in self.items(prefix):
            listener(key, value)
        try:
            yield
        finally:
            self._listeners.remove(entry)


def _kind_of(key: str) -> str:
    return key.partition("/")[0]


@asynccontextmanager
async def open_shared_state(
    kafka: KafkaSettings, observer: BatchObserver | None = None
) -> AsyncIterator[SharedState]:
    """Yield the state, complete as of now, and keep it up to date during the block."""
    shared_state = SharedState()
    complete = asyncio.Event()
    context = copy_context()
    if observer is not None:
        context.run(OBSERVER.set, observer)
    task = asyncio.create_task(_follow(kafka, shared_state, complete), context=context)
    try:
        waiting = asyncio.create_task(complete.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        yield shared_state
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow(kafka: KafkaSettings, shared_state: SharedState, complete: asyncio.Event) -> None:
    """Consume until cancelled; a failed reader restarts from the beginning."""
    while True:
        try:
            await _read(kafka, shared_state, complete)
        except KafkaError as error:
            log.warning("signals cannot be read, retrying: %r", error)
            await asyncio.sleep(RETRY_SECONDS)


async def _read(kafka: KafkaSettings, shared_state: SharedState, complete: asyncio.Event) -> None:
    partition = TopicPartition(SIGNALS.kafka_name(kafka.topic_prefix), 0)
    consumer = AIOKafkaConsumer(**consumer_options(kafka, "signals"), auto_offset_reset="earliest")
    try:
        await consumer.start()
        # Before the first fetch: behind it the broker responds after half a second of waiting.
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        while True:
            if not complete.is_set() and await consumer.position(partition) >= end:
                complete.set()
            for record in (await consumer.getmany(timeout_ms=POLL_MILLISECONDS)).get(partition, ()):
                key = (record.key or b"").decode(errors="replace")
                shared_state.put(key, record.value, live=complete.is_set())
    finally:
        await stop_consumer(consumer)
