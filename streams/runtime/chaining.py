"""Operator chaining: an event is processed by the next stage before it is written to its topic.

Where a worker runs two stages, and owns the partition of an event that one sends to the other, the
other one's synchronous handler processes the event in the same call. Its effects are written in the
place of the event, and acknowledged before the offset of the record that caused them is committed.
So an event that need not wait costs no produce and no fetch request. All others are published.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context

import msgspec

from streams.records import Effect, Flush, Incoming, Outgoing, TableWrite
from streams.topics import Topic
from streams.tracing.scope import Scope

UNWRITTEN = -1
"""Offset of a chained record, which is on no topic."""

EVENTS_MAX = 4
"""Events of one record that are chained. The members of a batch are published: each takes 0.3 ms,
and the event loop must not be held for a slice of them."""


class Processed(msgspec.Struct, frozen=True):
    """A record that was processed synchronously, and whose effects are to be written.

    Attributes:
        effects: the effects of its handler.
        scope: its tracing state.
        began: start of its processing, epoch nanoseconds.
        started: the same by `time.perf_counter`.
        context: that of its handler.
        rows: the rows among the effects.
        chain: what is written in the place of the effects when chained stages processed some.
    """

    record: Incoming
    effects: Sequence[Effect]
    scope: Scope
    began: int
    started: float
    context: Context
    rows: Sequence[TableWrite] = ()
    chain: "Chain | None" = None

    @property
    def written(self) -> Sequence[Effect]:
        """The effects to write."""
        return self.effects if self.chain is None else self.chain.effects


class Chained(msgspec.Struct, frozen=True):
    """An event that a chained stage has processed.

    Attributes:
        on_written: called when the effects are acknowledged.
    """

    event: Outgoing
    processed: Processed
    on_written: "Callable[[Chained], None]"


class Chain(msgspec.Struct, frozen=True):
    """The effects of a record with those of the chained stages, in order.

    An event's place is taken by the effects of the stage that processed it, behind all effects of
    the record itself: those are transitions before them.
    """

    effects: Sequence[Effect]
    chained: Sequence[Chained]

    def topics(self) -> Iterator[Topic]:
        """Yield the topic of each chained event."""
        for each in self.chained:
            yield each.event.topic
            if each.processed.chain is not None:
                yield from each.processed.chain.topics()

    def account(self) -> int:
        """Account for the chained events when the effects are acknowledged; count their effects."""
        count = 0
        for each in self.chained:
            inner = each.processed.chain
            count += len(each.processed.written)
            if inner is not None:
                inner.account()
            each.on_written(each)
        return count


ProcessEvent = Callable[[Outgoing], Chained | None]
"""Processes an event, if its stage can do so now and without waiting."""


class ChainedStages:
    """The stages of a process that take events from its other stages at once."""

    def __init__(self) -> None:
        self._stages: dict[Topic, ProcessEvent] = {}
        self._targets: dict[Topic, str] = {}
        self._running: set[Topic] = set()

    @contextmanager
    def registered(
        self, sources: Sequence[Topic], process: ProcessEvent, targets: Mapping[Topic, str]
    ) -> Iterator[None]:
        """Chain a stage during the block.

        Args:
            sources: its source topics.
            process: processes an event of them.
            targets: names on Kafka of the topics that it writes.
        """
        self._stages |= dict.fromkeys(sources, process)
        self._targets |= targets
        try:
            yield
        finally:
            for topic in sources:
                if self._stages.get(topic) is process:
                    del self._stages[topic]

    def kafka_name(self, topic: Topic) -> str | None:
        """Return the name of a topic that a chained stage writes, None for all others."""
        return self._targets.get(topic)

    def process(self, effects: Sequence[Effect]) -> Chain | None:
        """Process the events among effects whose stages are chained; None when there are none."""
        if not self._stages or len(effects) > EVENTS_MAX:
            return None
        chained = [
            done
            for each in effects
            if isinstance(each, Outgoing) and (done := self._process(each)) is not None
        ]
        if not chained:
            return None
        events = {id(each.event) for each in chained}
        own = [each for each in effects if id(each) not in events]
        return Chain([*own, *(new for each in chained for new in each.processed.written)], chained)

    def _process(self, event: Outgoing) -> Chained | None:
        topic = event.topic
        process = self._stages.get(topic)
        # A stage is not entered twice: stages may form a circle.
        if process is None or topic in self._running:
            return None
        self._running.add(topic)
        try:
            return process(event)
        finally:
            self._running.discard(topic)


def is_chainable(effects: Sequence[Effect]) -> bool:
    """Return whether effects may be written for a record of another stage.

    Rows are not: they belong to the changelog partition of their own record.
    """
    return not any(isinstance(each, TableWrite | Flush) for each in effects)
