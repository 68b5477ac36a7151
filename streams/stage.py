"""A stage is data: where it reads, how much at a time, and the function that does the work.

Everything that is hard about doing this on Kafka without losing a record is in
`streams.runtime.stage_runner`; what a stage does is in ``agents/``. Stages are found through the
entry-point group ``clipmill.stages``.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import entry_points

from streams.claims import Claim, claim_of
from streams.cluster.shared_state import SharedState
from streams.faust_driver.tables import StageTable
from streams.intake import Intake
from streams.records import Effect, Incoming, Outgoing
from streams.settings import Settings
from streams.topics import HEARTBEATS, TOPICS, Topic, changelog_topic, reply_topic

GROUP = "clipmill.stages"

Handler = Callable[[Incoming], Awaitable[Sequence[Effect]]]
"""Does the work of a stage for one record and returns everything that is to be written."""

Slices = AsyncIterator[Sequence[Effect]]
"""What a large record leads to, part by part: other records get their turn in between."""

SlicingHandler = Callable[[Incoming], Awaitable[Sequence[Effect] | Slices]]
"""A handler that may return slices."""

BugHandler = Callable[[Incoming, Exception], Sequence[Effect]]
"""Turns an unexpected exception into records, so that nothing is only a log line."""

Sweep = Callable[[], Sequence[Effect]]
"""A pure housekeeping function; returns what is to be written."""

HealthCheck = Callable[[], str | None]
"""Returns what is wrong, None when all is well."""


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a stage is given when it opens.

    Attributes:
        settings: all settings.
        tables: its tables by name.
        supplement: sends a record that may be lost (progress); never waits, never fails.
        signals: shared state of all workers, read here, written as records.
        intake: stops and starts the intake of the stage.
        sweeps: housekeeping to be run every so many seconds; the stage adds its own.
        checks: reasons not to be ready; the stage adds its own.
        reliefs: called when memory is short; each lets go of what can be had again.
        share: which part of the stage's partitions this worker has, 0 to 1.
    """

    settings: Settings
    tables: Mapping[str, StageTable]
    supplement: Callable[[Outgoing], None]
    signals: SharedState
    intake: Intake
    sweeps: list[tuple[float, Sweep]] = field(default_factory=list)
    checks: list[HealthCheck] = field(default_factory=list)
    reliefs: list[Callable[[], None]] = field(default_factory=list)
    share: Callable[[], float] = lambda: 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the pipeline.

    Attributes:
        name: also the name of its consumer group, behind the prefix.
        sources: topics that it reads.
        open: makes the handler and holds its resources while the stage runs.
        on_bug: turns an unexpected exception into records, so that nothing is only a log line.
        tables: names of its tables; rows are keyed like the records of its source.
        concurrency: how many records are worked on at a time.
        window: how many unfinished records may be held, per source topic; at most
            ``stage.window`` of them are started.
        ordered: records of one key are worked on one after the other, in their order.
        drains: finish running work on SIGTERM; False where work is waiting.
        claim: what a record needs before it is started: its rank, and the topics in front of later
            stages that must have room for what it leads to. Must not raise.
        due: when a record is due, epoch seconds, None for at once; it waits until then without
            being worked on, except when its request is taken back. Such a stage is not ordered.
        sends_heartbeats: its workers publish the heartbeats that all stages answer.
    """

    name: str
    sources: tuple[Topic, ...]
    open: Callable[[StageContext], AbstractAsyncContextManager[SlicingHandler]]
    on_bug: BugHandler
    tables: tuple[str, ...] = ()
    concurrency: Callable[[Settings], int] = lambda settings: settings.stage.concurrency
    window: Callable[[Settings], int] = lambda settings: settings.stage.window
    ordered: bool = True
    drains: bool = True
    claim: Callable[[Incoming], Claim] = claim_of
    due: Callable[[Incoming, float], float | None] | None = None
    sends_heartbeats: bool = False

    @property
    def reads(self) -> tuple[Topic, ...]:
        """All topics of its consumer group: the sources, and the heartbeats."""
        return (*self.sources, HEARTBEATS)


def topics_of(stages: Sequence[Stage], reply_topics: Sequence[str] = ()) -> list[Topic]:
    """Return all topics of the contract, the changelogs of these stages, and the reply topics."""
    return [*TOPICS, *changelogs(stages), *map(reply_topic, reply_topics)]


def changelogs(stages: Sequence[Stage]) -> list[Topic]:
    """Return the changelogs of the stages' tables."""
    return [changelog_topic(stage.name, table) for stage in stages for table in stage.tables]


class UnknownStageError(Exception):
    """No stage of this name is installed; the text lists those that are."""


def stage_names() -> list[str]:
    """Return the names of the installed stages."""
    return sorted(point.name for point in entry_points(group=GROUP))


def load_stages(names: Sequence[str] = ()) -> list[Stage]:
    """Return the installed stages of these names, all of them when none is named.

    Raises:
        UnknownStageError: a name is not installed.
    """
    installed = {point.name: point for point in entry_points(group=GROUP)}
    unknown = sorted(set(names) - set(installed))
    if unknown:
        raise UnknownStageError(
            f"no stage named {', '.join(unknown)}; there are {', '.join(sorted(installed))}"
        )
    return [installed[name].load() for name in dict.fromkeys(names or installed)]
