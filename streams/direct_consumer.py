"""Faust's consumer without its shortcuts: nothing read is dropped, nothing unfinished committed."""

import logging
from collections.abc import Iterable
from inspect import iscoroutine
from typing import Any

from aiokafka import TopicPartition
from faust.transport.drivers.aiokafka import Consumer, Transport

DELIVERY_AND_SUSPENSION = 2
"""What Faust waits for with each record: its delivery, or that a rebalance suspends the flow."""


class DirectConsumer(Consumer):
    """Hands each record straight to its stream, and commits what `streams.acks` let through.

    Faust makes two tasks for every record, so that a full queue cannot hold up a rebalance; that
    is a third of the cost of a record. With buffers that hold more than one poll can bring, no
    queue is ever full: partitions are paused at 80 % of it.

    Faust lets streams flow while it is still looking for the committed offsets, and then empties
    their queues: what was read meanwhile is lost. Here they flow when all of that is over.
    """

    logger = logging.getLogger("faust.direct_consumer")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: set[Any] = set()
        self._starts: dict[Any, int] = {}

    def start_of(self, tp: Any) -> int | None:
        """Return the offset where reading a partition goes on after the latest rebalance."""
        return self._starts.get(tp)

    async def wait_first(self, *coros: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Await the delivery; everything else is waited for as Faust does."""
        if len(coros) != DELIVERY_AND_SUSPENSION or not iscoroutine(coros[1]):
            return await super().wait_first(*coros, timeout=timeout)
        delivery, suspension = coros
        suspension.close()
        return await delivery

    # Which partitions flow

    def pause_partitions(self, tps: Iterable[Any]) -> None:
        """Stop the flow of partitions, also of those that a full buffer has stopped already."""
        paused = set(tps)
        self._waiting -= paused
        self._buffered_partitions -= paused
        super().pause_partitions(paused)

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Let changelogs flow at once, streams together with the flow as a whole."""
        resumed = set(tps)
        streams = {tp for tp in resumed if not self._is_changelog_tp(tp)}
        self._waiting |= streams
        super().resume_partitions(resumed - streams)

    def resume_flow(self) -> None:
        """Let everything flow; Faust has emptied the queues by now."""
        waiting, self._waiting = self._waiting, set()
        super().resume_partitions(waiting)
        super().resume_flow()

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109
        # Faust's set changes under the hands of the thread that reads; empty, it would mean all.
        return await super()._getmany(frozenset(active_partitions), timeout)

    # Where reading goes on

    async def perform_seek(self) -> None:
        """Go back to what is committed; where nothing is, to the beginning, as Faust forgets."""
        await super().perform_seek()
        streams = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        fresh = {tp for tp in streams if self._committed_offset[tp] is None}
        if fresh:
            await self._thread.seek_to_beginning(*(TopicPartition(*tp) for tp in fresh))
        self._starts = {
            tp: await self.position(tp) if tp in fresh else self._committed_offset[tp]
            for tp in streams
        }

    # What is committed

    def acknowledge(self, tp: Any, offset: int) -> None:
        """Let an offset be committed, by its number: Faust's own way keeps the whole record."""
        committed = self._committed_offset[tp]
        if committed is None or offset >= committed:
            self._acked[tp].append(offset)
            self._n_acked += 1

    async def _add_gap(self, *_: Any) -> None:
        """Believe in no gap: the acknowledgements have passed over those that are real."""

    def _new_offset(self, tp: Any) -> int | None:
        """Return the offset to commit: what is acknowledged is acknowledged in order."""
        acknowledged = self._acked[tp]
        if not acknowledged:
            return None
        newest: int = max(acknowledged)
        acknowledged.clear()
        self._acked_index[tp].clear()
        return newest + 1


class DirectTransport(Transport):
    """Faust's transport with `DirectConsumer`."""

    Consumer = DirectConsumer
