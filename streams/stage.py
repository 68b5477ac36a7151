"""Stage definition: source topics, concurrency, and a factory for the record handler.

A stage is data. `streams.runtime.stage_runner` consumes, schedules, publishes and commits for it
(at-least-once); handlers are in ``agents/``. Stages are discovered through the entry-point group
``clipmill.stages``.
"""

from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar

import msgspec

from streams.claims import Claim, claim_of
from streams.cluster.shared_state import SharedState
from streams.errors import OperatorError
from streams.intake import Intake
from streams.observability.health import HealthCheck
from streams.records import Effect, Incoming, Outgoing
from streams.settings import Settings
from streams.state_stores import RowFields
from streams.topics import (
    DEADLETTERS,
    EVENTS,
    HEARTBEATS,
    SIGNALS,
    TOPICS,
    Topic,
    changelog_topic,
    reply_topic,
)

GROUP = "clipmill.stages"

Handler = Callable[[Incoming], Awaitable[Sequence[Effect]]]
"""Processes one record and returns everything that is to be written."""

Slices = AsyncIterator[Sequence[Effect]]
"""Effects of a large record, in slices; other records are scheduled between them."""

SlicingHandler = Callable[[Incoming], Awaitable[Sequence[Effect] | Slices]]
"""A handler that may return slices."""

SyncHandler = Callable[[Incoming], Sequence[Effect] | None]
"""Processes a record without waiting. Returns None, or raises, when the asynchronous handler has
to process it; then the call has changed nothing."""


Output_co = TypeVar("Output_co", bound=Sequence[Effect] | Slices, covariant=True)


@dataclass(frozen=True, slots=True)
class SyncFirstHandler(Generic[Output_co]):
    """A handler with a synchronous path, which needs no task for each record.

    The effects of several records are published together.
    """

    sync: SyncHandler
    handle: Callable[[Incoming], Awaitable[Output_co]]

    def __call__(self, record: Incoming) -> Awaitable[Output_co]:
        """Process a record asynchronously."""
        return self.handle(record)


def synchronous(
    handle: Callable[[Incoming], Sequence[Effect]],
) -> SyncFirstHandler[Sequence[Effect]]:
    """Return the handler of a stage that never waits."""

    async def handle_alone(record: Incoming) -> Sequence[Effect]:
        return handle(record)

    return SyncFirstHandler(handle, handle_alone)


BugHandler = Callable[[Incoming, Exception], Sequence[Effect]]
"""Turns an unexpected exception into records, so that no failure is only a log line."""

PeriodicTask = Callable[[], Iterable[Sequence[Effect]]]
"""A housekeeping function without I/O: iterates over what is to be written, in slices of a few
milliseconds. The event loop does other work between slices, also after an empty one."""


class Table(Protocol):
    """Rows of the partitions that this worker owns; written by returning a `TableWrite`."""

    name: str

    def __len__(self) -> int: ...

    @property
    def size_bytes(self) -> int:
        """Bytes of all keys and rows; costs 40 ns a row."""

    def get(self, key: str) -> bytes | None: ...

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Iterate over a snapshot of all rows."""

    def slices(self, rows: int) -> Iterator[list[tuple[str, bytes]]]:
        """Iterate over slices of so many rows; each has the rows as they are when it is read."""


class IndexedTable(Table, Protocol):
    """A table on disk, of any size; sweeps use its index instead of reading all rows."""

    @property
    def counted(self) -> int:
        """Number of rows that `RowFields.is_counted` counts."""

    def expired(self, now: float) -> Iterator[list[str]]:
        """Yield the keys of the expired rows, a slice at a time."""

    def first_to_expire(self, size_bytes: int) -> Iterator[list[str]]:
        """Yield the keys of the rows that expire first and have so many bytes."""


@dataclass(frozen=True, slots=True)
class StageContext:
    """Dependencies of an open stage.

    Attributes:
        settings: all settings.
        tables: tables of the stage by name.
        indexed_tables: those of them that are on disk.
        publish_best_effort: publishes a record that may be lost (progress); never blocks or raises.
        shared_state: shared state of all workers; read here, written by publishing records.
        intake: pauses and resumes consumption of the stage.
        periodic: periodic tasks with their intervals in seconds; the stage appends its own.
        checks: readiness checks; the stage appends its own.
        on_memory_pressure: callbacks that drop cached data; the stage appends its own.
        partition_share: share of the stage's partitions assigned to this worker, 0 to 1.
        worker: name of this worker among all.
    """

    settings: Settings
    tables: Mapping[str, Table]
    publish_best_effort: Callable[[Outgoing], None]
    shared_state: SharedState
    intake: Intake
    periodic: list[tuple[float, PeriodicTask]] = field(default_factory=list)
    checks: list[HealthCheck] = field(default_factory=list)
    on_memory_pressure: list[Callable[[], None]] = field(default_factory=list)
    partition_share: Callable[[], float] = lambda: 1.0
    indexed_tables: Mapping[str, IndexedTable] = field(default_factory=dict)
    worker: str = "worker"


@dataclass(frozen=True, slots=True)
class StageMessage:
    """A message on a topic that only its stage has, for the contract.

    Attributes:
        topic: its topic.
        kind: CloudEvents type, without the prefix.
        body: its struct; the docstring describes it.
    """

    topic: Topic
    kind: str
    body: type[msgspec.Struct]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: one consumer group with its source topics, handler and tables.

    Attributes:
        name: stage name; with the prefix, also the name of its consumer group.
        sources: source topics.
        open: creates the handler; its context holds the resources while the stage runs.
        on_bug: turns an unexpected exception into records.
        writes: topics of its effects, those of `on_bug` included; without a declaration, all of
            clipmill's. The contract and the ACLs are derived from it. A topic that clipmill does
            not have is created with the others.
        purpose: predicate of a sentence about the stage, for the contract.
        messages: messages on the topics that only this stage has.
        tables: table names; rows are keyed, and so partitioned, like the source records.
        indexes: the tables of them that are kept on disk, because they may outgrow the memory.
        concurrency: maximum number of records processed at a time.
        window: maximum number of unfinished records per source topic; at most the setting
            ``stage.window`` of them are started.
        ordered: records of one key are processed one at a time, in offset order.
        drains: finish records in flight on SIGTERM; False where they only wait.
        claim: admission claim of a record: its rank, and the downstream topics that need capacity
            for its output. Must not raise.
        due: due time of a record in epoch seconds, None for at once; the record is held unprocessed
            until then, unless its request is cancelled. Such a stage is not ordered.
        chained: its synchronous handler may process an event of another stage of its worker before
            the event is written (`streams.runtime.chaining`): it returns no rows, and may take an
            event before earlier ones of its key, also if the stage is ordered. Only events of a
            topic that no other installed stage reads are chained.
        sends_heartbeats: its workers publish the heartbeats that all stages commit.
    """

    name: str
    sources: tuple[Topic, ...]
    open: Callable[[StageContext], AbstractAsyncContextManager[SlicingHandler]]
    on_bug: BugHandler
    writes: tuple[Topic, ...] = TOPICS
    purpose: str = "processes records"
    messages: tuple[StageMessage, ...] = ()
    tables: tuple[str, ...] = ()
    indexes: Mapping[str, RowFields] = field(default_factory=dict)
    concurrency: Callable[[Settings], int] = lambda settings: settings.stage.concurrency
    window: Callable[[Settings], int] = lambda settings: settings.stage.window
    ordered: bool = True
    drains: bool = True
    claim: Callable[[Incoming], Claim] = claim_of
    due: Callable[[Incoming, float], float | None] | None = None
    chained: bool = False
    sends_heartbeats: bool = False

    def __post_init__(self) -> None:
        """Reject a stage that cannot be chained.

        Raises:
            ValueError: it holds records until they are due.
        """
        if self.chained and self.due is not None:
            raise ValueError(f"the stage {self.name} is chained and holds records until due")

    @property
    def reads(self) -> tuple[Topic, ...]:
        """All topics of its consumer group: sources and heartbeats."""
        return (*self.sources, HEARTBEATS)

    @property
    def produces(self) -> tuple[Topic, ...]:
        """All topics that its workers write: the declared ones, and dead letters.

        Exceeding the dead-letter limit publishes a pause signal.
        """
        dead_letters = (DEADLETTERS, SIGNALS)
        return (*(topic for topic in self.writes if topic not in dead_letters), *dead_letters)


def topics_of(stages: Sequence[Stage], reply_topics: Sequence[str] = ()) -> list[Topic]:
    """Return all topics: of clipmill, of the stages alone, their changelogs, the reply topics."""
    replies = map(reply_topic, reply_topics)
    return [*TOPICS, *own_topics(stages), *changelogs(stages), *replies]


def own_topics(stages: Sequence[Stage]) -> list[Topic]:
    """Return the topics that stages declare and clipmill does not have, each once."""
    declared = [topic for stage in stages for topic in (*stage.sources, *stage.writes)]
    return [topic for topic in dict.fromkeys(declared) if topic not in TOPICS]


def changelogs(stages: Sequence[Stage]) -> list[Topic]:
    return [changelog_topic(stage.name, table) for stage in stages for table in stage.tables]


def chained_topics(stages: Sequence[Stage]) -> frozenset[Topic]:
    """Return the topics between stages whose only reader is a chained one.

    Topics of clipmill that others read too, such as results and the audit history, are not among
    them.
    """
    readers = Counter(topic for stage in stages for topic in stage.sources)
    return frozenset(
        topic
        for stage in stages
        if stage.chained
        for topic in stage.sources
        if readers[topic] == 1 and (topic in EVENTS or topic not in TOPICS) and not topic.foreign
    )


class UnknownStageError(OperatorError):
    """No stage of the name is installed; the text lists the installed ones."""


def stage_names() -> list[str]:
    return sorted(point.name for point in entry_points(group=GROUP))


def load_stages(names: Sequence[str] = ()) -> list[Stage]:
    """Load the named stages, all installed ones when none is named.

    Raises:
        UnknownStageError: a name is not installed.
    """
    installed = {point.name: point for point in entry_points(group=GROUP)}
    unknown = sorted(set(names) - set(installed))
    if unknown:
        raise UnknownStageError(
            f"no stage named {', '.join(unknown)}; available: {', '.join(sorted(installed))}"
        )
    return [installed[name].load() for name in dict.fromkeys(names or installed)]
