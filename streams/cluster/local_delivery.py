"""Local delivery: a record reaches a consumer of the process that published it without a fetch.

The acknowledgement of a record has its offset. When that is the next one of a partition that a
consumer of this process has assigned, the record is buffered there as if it had been fetched, and
the position moves behind it. Records of other processes, and records that are acknowledged out of
order, are fetched, so nothing is skipped.

While a consumer gets all records this way, its fetches would only return records that it has
consumed; they are delayed by up to `FETCH_SECONDS`.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any, TypeAlias

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher as aiokafka_fetcher

log = logging.getLogger(__name__)

FETCH_SECONDS = 0.1
"""Longest delay of a fetch. A record of another process waits for that time, and
for a fetch of the other partitions that is in flight (``fetch.max.wait.ms``)."""

NO_GAP_SECONDS = 5.0
"""Time without a gap (pending records, but not the next one of the partition) after which fetches
are delayed."""

PENDING_BYTES = 1_048_576
"""Keys and values of a partition that wait to be consumed, the limit of a fetch; further records
are fetched."""

Record: TypeAlias = ConsumerRecord[bytes, bytes]


class ConsecutiveRecords:
    """Records at consecutive offsets, for `FetchResult`, as aiokafka's `PartitionRecords`."""

    def __init__(self, records: Iterable[Record], start: int) -> None:
        self._records = iter(records)
        self.next_fetch_offset = start

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        record = next(self._records)
        self.next_fetch_offset = record.offset + 1
        return record


class PendingRecords:
    """The records of a partition that its consumer has not consumed yet."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._records)

    def add(self, record: Record) -> None:
        """Add a record, if there is room for it."""
        size = _size(record)
        if self._bytes + size <= PENDING_BYTES and record.offset not in self._records:
            self._records[record.offset] = record
            self._bytes += size

    def discard_before(self, position: int) -> None:
        for offset in [each for each in self._records if each < position]:
            self._bytes -= _size(self._records.pop(offset))

    def starting_at(self, position: int) -> list[Record]:
        """Return the records at consecutive offsets."""
        found: list[Record] = []
        while (record := self._records.get(position + len(found))) is not None:
            found.append(record)
        return found


def _size(record: Record) -> int:
    return len(record.key or b"") + len(record.value or b"")


class LocalReader:
    """Delivers the records of this process to one of its consumers.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fetcher: Any = None
        self._plan: Callable[[Any], Any] = lambda _assignment: None
        self._latest: Any = None
        self._assigned_at_milliseconds = 0
        self._pending: dict[TopicPartition, PendingRecords] = {}
        self._replaced: set[TopicPartition] = set()
        self._delivered_at = self._gap_at = -inf
        self._has_gap = False
        self._fetched_at: dict[int, float] = {}

    def attach(self, fetcher: Any) -> None:
        """Deliver to a consumer that has started, by its fetcher."""
        self._fetcher = fetcher
        self._plan = fetcher._get_actions_per_node  # noqa: SLF001
        fetcher._get_actions_per_node = self._plan_fetches  # noqa: SLF001
        fetcher._set_error = partial(_set_error, fetcher, fetcher._set_error)  # noqa: SLF001

    def detach(self) -> None:
        """Deliver nothing more."""
        self._fetcher = None

    def offer(self, records: Iterable[Record]) -> None:
        """Deliver acknowledged records, at once or behind those before them."""
        assignment = self._assignment()
        if assignment is None:
            return
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            # A record from before the assignment may be of a log that was created again since.
            is_current = record.timestamp >= self._assigned_at_milliseconds
            if tp in assignment.tps and tp not in self._replaced and is_current:
                self._pending.setdefault(tp, PendingRecords()).add(record)
        if self._buffer(assignment):
            self._wake_consumer()
        elif self._has_gap:
            self._fetcher._notify(self._fetcher._wait_consume_future)  # noqa: SLF001

    def on_log_replaced(self, tp: TopicPartition) -> None:
        """Deliver nothing more of a partition whose log was truncated, or created again."""
        self._replaced.add(tp)
        self._pending.pop(tp, None)

    def _assignment(self) -> Any:
        """Return the active assignment of the consumer, None without one."""
        if self._fetcher is None:
            return None
        subscription = self._fetcher._subscriptions.subscription  # noqa: SLF001
        assignment = subscription and subscription.assignment
        if assignment is not self._latest:
            self._latest = assignment
            self._assigned_at_milliseconds = int(time.time() * 1_000)
            self._pending.clear()
            self._replaced.clear()
        return assignment if assignment is not None and assignment.active else None

    def _buffer(self, assignment: Any) -> bool:
        """Buffer the records that are next in their partitions; return whether there are any."""
        found = self._has_gap = False
        for tp, pending in self._pending.items():
            state = assignment.state_value(tp)
            # What is buffered already is consumed first.
            if tp in self._fetcher._records or not state.has_valid_position or state.paused:  # noqa: SLF001
                continue
            pending.discard_before(state.position)
            if records := pending.starting_at(state.position):
                self._fetcher._records[tp] = aiokafka_fetcher.FetchResult(  # noqa: SLF001
                    tp,
                    assignment=assignment,
                    partition_records=ConsecutiveRecords(records, state.position),
                    backoff=self._fetch_backoff(),
                )
                found = True
            elif pending:
                self._has_gap, self._gap_at = True, self._clock()
        return found

    def _wake_consumer(self) -> None:
        self._delivered_at = self._clock()
        for waiter in self._fetcher._fetch_waiters:  # noqa: SLF001
            self._fetcher._notify(waiter)  # noqa: SLF001

    def _plan_fetches(self, assignment: Any) -> Any:
        """Plan the fetch requests: aiokafka does so after each response, and each poll."""
        states = map(assignment.state_value, assignment.tps)
        seconds = min(map(self._fetch_delay, self._fetched_at), default=0.0)
        if seconds > 0 and all(state.has_valid_position for state in states):
            plan: Any = ([], {}, seconds, False, [])
        else:
            plan = self._plan_due_fetches(assignment)
        # Afterwards: a buffered partition would have been left out of the fetch.
        if self._assignment() is assignment and self._buffer(assignment):
            self._wake_consumer()
        return plan

    def _plan_due_fetches(self, assignment: Any) -> Any:
        fetches, resets, timeout, *others = self._plan(assignment)
        due = []
        for node, request in fetches:
            if (seconds := self._fetch_delay(node)) > 0:
                timeout = min(timeout, seconds)
            else:
                self._fetched_at[node] = self._clock()
                due.append((node, request))
        return due, resets, timeout, *others

    def _fetch_backoff(self) -> float:
        """Return how long aiokafka fetches no partition because this one is not consumed yet.

        aiokafka's own backoff restarts with each buffered record: no fetch would become due.
        """
        oldest = min(self._fetched_at.values(), default=-inf)
        return max(0.0, oldest + FETCH_SECONDS - self._clock())

    def _fetch_delay(self, node: int) -> float:
        now = self._clock()
        if now < self._gap_at + NO_GAP_SECONDS:
            return 0.0
        return min(self._delivered_at, self._fetched_at.get(node, -inf)) + FETCH_SECONDS - now


def _set_error(
    fetcher: Any, set_error: Callable[[Any, Any], None], tp: TopicPartition, error: Any
) -> None:
    """Set the error of a fetch, for which aiokafka asserts that nothing is buffered."""
    fetcher._records.pop(tp, None)  # noqa: SLF001
    set_error(tp, error)


class LocalDelivery:
    """The consumers of a process by the topics that its producer delivers to them.

    Attributes:
        topics: their names on Kafka.
    """

    def __init__(self) -> None:
        self._readers: dict[str, list[LocalReader]] = {}

    @property
    def topics(self) -> Collection[str]:
        return self._readers.keys()

    @contextmanager
    def registered(self, topics: Collection[str], reader: LocalReader) -> Iterator[None]:
        """Deliver the records of topics to a reader during the block."""
        for topic in topics:
            self._readers.setdefault(topic, []).append(reader)
        try:
            yield
        finally:
            for topic in topics:
                self._readers[topic].remove(reader)
                if not self._readers[topic]:
                    del self._readers[topic]

    def deliver(self, records: Iterable[Record]) -> None:
        """Offer acknowledged records to the readers of their topics; never raises."""
        by_topic: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_topic[record.topic].append(record)
        for topic, found in by_topic.items():
            for reader in self._readers.get(topic, ()):
                try:
                    reader.offer(found)
                except Exception:
                    log.exception("the records of %s are fetched from now on", topic)
                    reader.detach()
