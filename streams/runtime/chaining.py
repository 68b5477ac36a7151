"""Operator chaining: an event is processed by the next stage before it is written to its topic.

Where a worker runs two stages, and owns the partition of an event that one sends to the other, the
other one's synchronous handler processes the event in the same call. Its effects are written in the
place of the event, and acknowledged before the offset of the record that caused them is committed.
So an event that need not wait costs no produce and no fetch request. All others are published.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context

import msgspec

from streams.records import Effect, Flush, Incoming, Outgoing, TableWrite
from streams.topics import Topic
from streams.tracing.scope import Scope

log = logging.getLogger(__name__)

UNWRITTEN = -1
"""Offset of a chained record, which is on no topic."""

EVENTS_MAX = 4
"""Events of one record that are chained. The members of a batch are published: each takes 0.3 ms,
and the event loop must not be held for a slice of them."""

Targets = Mapping[Topic, str]
"""Names on Kafka of the topics that a stage writes."""


class Processed(msgspec.Struct, frozen=True):
    """A record that was processed synchronously, and whose effects are to be written.

    Attributes:
        effects: the effects of its handler.
        scope: its tracing state.
        began: start of its processing, epoch nanoseconds.
        started: the same by `time.perf_counter`.
        context: that of its handler.
        rows: the rows among the effects.
        chained: what is written instead when chained stages have processed some of its events.
    """

    record: Incoming
    effects: Sequence[Effect]
    scope: Scope
    began: int
    started: float
    context: Context
    rows: Sequence[TableWrite] = ()
    chained: "ChainedEffects | None" = None

    @property
    def own(self) -> Sequence[Effect]:
        """Its effects that are written, without chained events and their effects."""
        return self.effects if self.chained is None else self.chained.own

    def written(self) -> list[tuple[Effect, Incoming]]:
        """Return all effects that are written, each with the record that caused it."""
        pairs: list[tuple[Effect, Incoming]] = [(effect, self.record) for effect in self.own]
        if self.chained is not None:
            pairs += self.chained.written()
        return pairs


class ChainedEvent(msgspec.Struct, frozen=True):
    """An event that a chained stage has processed.

    Attributes:
        on_written: called when the effects are acknowledged.
    """

    event: Outgoing
    processed: Processed
    on_written: "Callable[[ChainedEvent], None]"


class ChainedEffects(msgspec.Struct, frozen=True):
    """The effects of a record some of whose events chained stages have processed.

    Attributes:
        own: the other effects of the record; written before those of the events, which follow from
            them: an audit record of the first stage precedes that of the second.
        events: the chained events.
    """

    own: Sequence[Effect]
    events: Sequence[ChainedEvent]

    def written(self) -> list[tuple[Effect, Incoming]]:
        """Return the effects of the chained stages, each with the event that caused it."""
        return [pair for each in self.events for pair in each.processed.written()]

    def topics(self) -> Counter[Topic]:
        """Count the chained events by topic, those of chained stages included."""
        found: Counter[Topic] = Counter()
        for each in self.events:
            found[each.event.topic] += 1
            if each.processed.chained is not None:
                found += each.processed.chained.topics()
        return found

    def on_written(self) -> None:
        """Account for the chained events: the effects are acknowledged."""
        for each in self.events:
            if each.processed.chained is not None:
                each.processed.chained.on_written()
            each.on_written(each)


ProcessEvent = Callable[[Outgoing], ChainedEvent | None]
"""Processes an event, if its stage can do so now and without waiting."""


class ChainedStages:
    """The stages of a process that take events from its other stages at once.

    Args:
        topics: the topics whose only reader is a chained stage; the events of all others are
            published for every reader.
    """

    def __init__(self, topics: frozenset[Topic] = frozenset()) -> None:
        self._topics = topics
        self._stages: dict[Topic, ProcessEvent] = {}
        self._targets: dict[str, Targets] = {}
        self._running: set[ProcessEvent] = set()

    @contextmanager
    def registered(
        self, sources: Sequence[Topic], process: ProcessEvent, targets: Targets
    ) -> Iterator[None]:
        """Chain a stage during the block.

        Args:
            sources: its source topics.
            process: processes an event of them.
            targets: names on Kafka of the topics that it writes.
        """
        chained = [topic for topic in sources if topic in self._topics]
        self._stages |= dict.fromkeys(chained, process)
        self._targets |= {topic.name: targets for topic in chained}
        try:
            yield
        finally:
            for topic in chained:
                del self._stages[topic]

    def targets_of(self, record: Incoming) -> Targets:
        """Return the targets of the stage that processed a chained record."""
        return self._targets[record.topic]

    def process(self, effects: Sequence[Effect]) -> ChainedEffects | None:
        """Process the events among effects whose stages are chained; None when there are none.

        Nothing is chained when a `Flush` is among the effects: it orders the writes around it.
        """
        if not self._stages:
            return None
        events = sum(isinstance(each, Outgoing) and each.topic in self._stages for each in effects)
        if not 0 < events <= EVENTS_MAX or any(isinstance(each, Flush) for each in effects):
            return None
        own: list[Effect] = []
        chained: list[ChainedEvent] = []
        for each in effects:
            done = self._process(each) if isinstance(each, Outgoing) else None
            if done is None:
                own.append(each)
            else:
                chained.append(done)
        return ChainedEffects(own, chained) if chained else None

    def _process(self, event: Outgoing) -> ChainedEvent | None:
        process = self._stages.get(event.topic)
        # A stage is not entered twice: stages may form a circle.
        if process is None or process in self._running:
            return None
        self._running.add(process)
        try:
            return process(event)
        except Exception:
            # The stage reports the bug when it reads the event.
            log.exception("an event of %s is published: chaining failed", event.topic.name)
            return None
        finally:
            self._running.discard(process)


def chained_record(event: Outgoing, partition: int) -> Incoming:
    """Return an event as its stage would read it, but for the offset; its id is the event's."""
    record = Incoming(
        event.topic.name,
        partition,
        UNWRITTEN,
        event.key,
        event.value,
        event.headers,
        time.time(),
    )
    event_id = record.header("ce_id")
    if event_id is not None:
        # The position, from which the id is made otherwise, is not unique here.
        record.__dict__["record_id"] = event_id
    return record


def is_chainable(effects: Sequence[Effect], targets: Targets) -> bool:
    """Return whether the effects of a stage may be written for a record of another stage.

    Rows are not: they belong to the changelog partition of their own record.
    """
    return all(isinstance(each, Outgoing) and each.topic in targets for each in effects)
