"""Any history of one partition: deliveries, rebalances, other owners, gaps, dropped events."""

from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.runtime.offset_tracker import OffsetTracker, SkippedOffsetsError

pytestmark = pytest.mark.untraced

P = ("requests", 0)
LOG_END = 24


class PartitionHistory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.acks = OffsetTracker()
        self.missing: set[int] = set()
        self.dropped: set[int] = set()
        self.generation = 0
        self.position = 0
        self.committed = 0
        self.acked = 0
        self.running: set[int] = set()
        self.waiting: set[int] = set()
        self.done: set[int] = set()
        self.delivered_any = False

    def acknowledge(self, offset: int, generation: int) -> None:
        assert generation == self.generation, "a stale event was acknowledged"
        below = set(range(offset + 1)) - self.missing - self.done
        assert not below, f"{offset} acknowledged before {below}"
        assert offset >= self.acked
        self.acked = offset + 1
        self.waiting.discard(offset)

    def restart(self) -> None:
        self.acks = OffsetTracker()
        self.running.clear()
        self.waiting.clear()
        self.resume()

    def resume(self) -> None:
        self.generation += 1
        self.position = self.acked = self.committed
        self.delivered_any = False

    @precondition(lambda self: self.position < LOG_END)
    @rule()
    def deliver(self) -> None:
        offset = self.position
        self.position += 1
        event = partial(self.acknowledge, offset, self.generation)
        if offset in self.missing:
            self.acks.skip_gap(P, offset, offset + 1, event, committed=self.committed)
            self.delivered_any = True
            return
        known = offset in self.running | self.waiting
        try:
            new = self.acks.deliver(P, offset, event)
        except SkippedOffsetsError:
            self.restart()
            return
        self.delivered_any = True
        assert new is not known, "a record is started exactly if it is not in flight"
        if new:
            self.running.add(offset)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(offset)
        self.done.add(offset)
        self.waiting.add(offset)
        self.acks.finish(P, offset)

    @precondition(lambda self: self.position > 0)
    @rule(offset=st.integers(1, LOG_END - 1))
    def real_gap(self, offset: int) -> None:
        """A transaction marker or a compacted record, ahead of everything read so far."""
        if offset >= self.position and offset not in self.done | self.running:
            self.missing.add(offset)

    @precondition(lambda self: self.delivered_any and self.position < LOG_END)
    @rule()
    def drop(self) -> None:
        """Faust loses an event around a rebalance, each event at most once."""
        if self.position not in self.dropped | self.missing:
            self.dropped.add(self.position)
            self.position += 1

    @rule()
    def commit(self) -> None:
        self.committed = self.acked

    @rule()
    def rebalance(self) -> None:
        self.acks.suspend()
        self.acks.retain({P})
        self.resume()

    @rule(others=st.integers(0, 3))
    def lose_and_regain(self, others: int) -> None:
        self.acks.suspend()
        self.acks.retain(set())
        self.running.clear()
        self.waiting.clear()
        self.other_owner(others)
        self.acks.retain({P})
        self.resume()

    @rule(others=st.integers(1, 3))
    def thaw(self, others: int) -> None:
        """The process was frozen; another owner came and went unnoticed."""
        self.acks.suspend()
        self.other_owner(others)
        self.acks.retain({P})
        self.resume()

    def other_owner(self, records: int) -> None:
        for _ in range(records):
            if self.committed < self.position:
                self.done.add(self.committed)
                self.committed += 1

    @invariant()
    def holds_what_is_in_flight(self) -> None:
        assert len(self.acks) == len(self.running | self.waiting)

    def teardown(self) -> None:
        for _ in range(LOG_END + 5):
            while self.position < LOG_END:
                self.deliver()
            for offset in sorted(self.running, reverse=True):
                self.running.discard(offset)
                self.done.add(offset)
                self.waiting.add(offset)
                self.acks.finish(P, offset)
        last = LOG_END - 1
        assert self.acked > last or self.committed > last, "the partition is stalled"


TestPartitionHistory = PartitionHistory.TestCase
TestPartitionHistory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
