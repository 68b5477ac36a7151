"""Shared state of all workers: the newest value of every key of the compacted topic ``signals``.

Every process reads the topic from its start and without a group, so it knows the state of all
breakers before its stages start, and every change within milliseconds. Writing is like all
writing: a record for the topic, from whoever owns the key.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.kafka import client_options
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


class Signals:
    """The state as this process knows it."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._watchers: dict[str, list[Callable[[], object]]] = {}
        self._listeners: list[tuple[str, Listener]] = []

    def get(self, key: str) -> bytes | None:
        """Return the newest value of a key, None when there is none."""
        return self._values.get(key)

    def items(self, prefix: str) -> list[tuple[str, bytes]]:
        """Return keys and values of all keys that begin so."""
        return [each for each in self._values.items() if each[0].startswith(prefix)]

    def put(self, key: str, value: bytes | None) -> None:
        """Take note of a change and tell everybody who waits for it."""
        self._values.pop(key, None)
        if value is not None:
            self._values[key] = value
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
async def following(kafka: KafkaSettings) -> AsyncIterator[Signals]:
    """Give the state, complete as of now, and keep it up to date while the context lasts."""
    signals = Signals()
    complete = asyncio.Event()
    task = asyncio.create_task(_follow(kafka, signals, complete))
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


async def _follow(kafka: KafkaSettings, signals: Signals, complete: asyncio.Event) -> None:
    """Read for ever; a reader that fails is replaced by one that starts from the beginning."""
    while True:
        try:
            await _read(kafka, signals, complete)
        except KafkaError as error:
            log.warning("signals cannot be read, trying again: %r", error)
            await asyncio.sleep(RETRY_SECONDS)


async def _read(kafka: KafkaSettings, signals: Signals, complete: asyncio.Event) -> None:
    place = TopicPartition(SIGNALS.kafka_name(kafka.topic_prefix), 0)
    consumer = AIOKafkaConsumer(**client_options(kafka), auto_offset_reset="earliest")
    try:
        await consumer.start()
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        while True:
            if not complete.is_set() and await consumer.position(place) >= end:
                complete.set()
            for record in (await consumer.getmany(timeout_ms=POLL_MILLISECONDS)).get(place, ()):
                signals.put((record.key or b"").decode(errors="replace"), record.value)
    finally:
        # aiokafka lets the cancellation of its own waiting fetch escape while a broker is away.
        with suppress(asyncio.CancelledError):
            await consumer.stop()
