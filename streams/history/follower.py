"""Follows audit, results and commands without a consumer group, into a `HistoryStore`.

The topic of commands has the orders of users; without the ACL for it the rest is followed.

Reading resumes at the stored positions. The follower reads the record before each position again; a
different one shows that the topic was recreated. Then, and for another cluster id, it empties the
store and reads the topics from their beginning.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from streams.cluster.authorization import MissingAclError
from streams.cluster.connection import consumer_options, stop_consumer, translate_errors
from streams.cluster.topic_admin import cluster_id
from streams.cluster.topic_reader import require_topics
from streams.history.changes import RequestChange, change_of_audit, change_of_result
from streams.history.orders import Order, order_of
from streams.history.statements import FoldedRecord
from streams.history.store import HistoryStore, ReadPosition, StaleGenerationError
from streams.settings import KafkaSettings
from streams.settings.console import HistorySettings
from streams.state_stores import digest_of
from streams.topics import AUDIT, COMMANDS, RESULTS, Topic

log = logging.getLogger(__name__)

POLL_MILLISECONDS = 500

POLL_RECORDS = 2_000
"""Records of one poll, and of one transaction."""

PRUNE_SECONDS = 60.0
"""Pause between prunings while following."""

PRUNE_POLLS = 50
"""Polls between prunings while catching up: 100,000 records."""

PATIENCE_SECONDS = 30.0
"""Time without a record after which a cluster that has more counts as unavailable."""

RETRY_SECONDS = 2.0

SECONDS_PER_DAY = 86_400

Fold = Callable[[Any], FoldedRecord | Order | None]
"""Returns what a record changes, None for one of a foreign producer."""


def _folded_change(fold: Callable[[bytes], RequestChange | None], record: Any) -> Any:
    change = fold(record.value or b"")
    return None if change is None else FoldedRecord(record.partition, record.offset, change)


FOLDS: Mapping[Topic, Fold] = {
    AUDIT: partial(_folded_change, change_of_audit),
    RESULTS: partial(_folded_change, change_of_result),
    COMMANDS: order_of,
}


class _Source(msgspec.Struct, frozen=True):
    name: str
    fold: Fold


class HistoryFollower:
    """Reads the history of a cluster into a store.

    Attributes:
        orders_problem: why the orders of users are not read; None when they are.

    Args:
        kafka: the cluster.
        store: an open store. Several processes may fill one file: what they write is the same.
        bounds: what the store keeps.
        clock: epoch seconds.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        store: HistoryStore,
        bounds: HistorySettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kafka = kafka
        self._store = store
        self._bounds = bounds
        self._clock = clock
        self.orders_problem: str | None = None
        self._sources = {
            topic.kafka_name(kafka.topic_prefix): _Source(topic.name, fold)
            for topic, fold in FOLDS.items()
        }
        self._cluster = ""
        self._generation = 0
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._unverified: dict[TopicPartition, ReadPosition] = {}
        self._consumer = AIOKafkaConsumer(
            **consumer_options(kafka, "client"),
            auto_offset_reset="earliest",
            max_poll_records=POLL_RECORDS,
        )

    async def __aenter__(self) -> Self:
        try:
            async with translate_errors(self._kafka):
                await self._select_sources()
                self._cluster = await cluster_id(self._kafka)
                await self._consumer.start()
                await self._seek()
        except BaseException:
            await stop_consumer(self._consumer)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await stop_consumer(self._consumer)

    async def catch_up(self) -> None:
        """Read up to the present end of the topics.

        Raises:
            ClusterUnavailableError: the cluster does not answer any more.
        """
        async with translate_errors(self._kafka):
            ends = await self._consumer.end_offsets(self._consumer.assignment())
            progress_at, polls = time.monotonic(), 0
            while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
                if await self._poll():
                    progress_at, polls = time.monotonic(), polls + 1
                elif time.monotonic() - progress_at > PATIENCE_SECONDS:
                    raise KafkaTimeoutError(f"no record in {PATIENCE_SECONDS:.0f} s")
                if polls % PRUNE_POLLS == 0:
                    await self._prune()
        await self._prune()

    async def follow(self) -> None:
        """Read records as they arrive, until cancelled; wait while the cluster is away."""
        pruned_at = time.monotonic()
        while True:
            try:
                await self._poll()
            except KafkaError as error:
                log.warning("the history is not read: %r", error)
                await asyncio.sleep(RETRY_SECONDS)
            if time.monotonic() - pruned_at > PRUNE_SECONDS:
                await self._prune()
                pruned_at = time.monotonic()

    async def _select_sources(self) -> None:
        """Subscribe to the topics; to that of commands only with its ACL."""
        await require_topics(self._kafka, AUDIT, RESULTS)
        try:
            await require_topics(self._kafka, COMMANDS)
        except MissingAclError as error:
            self.orders_problem = str(error)
            del self._sources[COMMANDS.kafka_name(self._kafka.topic_prefix)]
        self._consumer.subscribe([*self._sources])

    async def _seek(self) -> None:
        """Seek to the record before each stored position, else to the beginning."""
        self._assigned = frozenset(self._consumer.assignment())
        self._generation = await asyncio.to_thread(self._store.open_generation, self._cluster)
        starts = await self._consumer.beginning_offsets(self._assigned)
        ends = await self._consumer.end_offsets(self._assigned)
        positions = {
            TopicPartition(name, partition): position
            for name, source in self._sources.items()
            for partition, position in self._store.positions(source.name).items()
        }
        # Without the partitions of a deleted topic: its history stays until the topic is back.
        known = {tp: each for tp, each in positions.items() if tp in self._assigned}
        if any(each.next_offset > ends[tp] for tp, each in known.items()):
            await self._start_over()
            return
        self._unverified = {tp: each for tp, each in known.items() if each.next_offset > starts[tp]}
        for tp in self._assigned:
            position = self._unverified.get(tp)
            self._consumer.seek(tp, starts[tp] if position is None else position.next_offset - 1)

    async def _start_over(self) -> None:
        log.warning(
            "the history is of another log than %s has; it is read again", self._kafka.bootstrap
        )
        self._unverified.clear()
        self._generation = await asyncio.to_thread(self._store.clear, self._cluster)
        await self._consumer.seek_to_beginning()

    async def _poll(self) -> bool:
        """Read and store records; return whether there were any."""
        polled = await self._consumer.getmany(timeout_ms=POLL_MILLISECONDS)
        if self._assigned != self._consumer.assignment():
            # Partitions were added, or a topic was recreated: all positions are lost.
            await self._seek()
            return True
        if not all(self._is_of_this_log(tp, records[0]) for tp, records in polled.items()):
            await self._start_over()
            return True
        try:
            for name, source in self._sources.items():
                found = {tp.partition: rows for tp, rows in polled.items() if tp.topic == name}
                if found:
                    await asyncio.to_thread(self._apply, source, found)
        except StaleGenerationError:
            await self._seek()
        return bool(polled)

    def _is_of_this_log(self, tp: TopicPartition, first: Any) -> bool:
        expected = self._unverified.pop(tp, None)
        return expected is None or _position_behind(first) == expected

    def _apply(self, source: _Source, found: Mapping[int, Sequence[Any]]) -> None:
        records = [each for records in found.values() for each in _folded(source.fold, records)]
        positions = {partition: _position_behind(rows[-1]) for partition, rows in found.items()}
        self._store.apply(source.name, records, positions, self._generation)

    async def _prune(self) -> None:
        older_than = self._clock() - self._bounds.days * SECONDS_PER_DAY
        await asyncio.to_thread(self._store.prune_orders, older_than=older_than)
        while await asyncio.to_thread(
            self._store.prune, older_than=older_than, count=self._bounds.requests
        ):
            pass


def _folded(fold: Fold, records: Iterable[Any]) -> Iterator[FoldedRecord | Order]:
    return (each for each in map(fold, records) if each is not None)


def _position_behind(record: Any) -> ReadPosition:
    return ReadPosition(record.offset + 1, digest_of(record.key or b"", record.value))
