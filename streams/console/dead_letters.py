"""Dead letters as the handlers use them: an index that follows Kafka, their values, and actions."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from schemas.deadletters import DeadLetterStatus
from streams.client import RequestProducer
from streams.console.commands import NOTE_CHARACTERS_MAX, record_order, text_of
from streams.console.dead_letter_queries import ReplayOrder
from streams.console.errors import BrokerTimeoutError, CallError, as_call_error
from streams.console.replays import ReplayJob, ReplayJobs
from streams.deadletters import operations
from streams.deadletters.dead_letter import (
    DeadLetterRecord,
    DeadLetterSummary,
    Filter,
    NewestDeadLetters,
)
from streams.deadletters.index import DeadLetterIndex, in_replay_order
from streams.deadletters.plan import DryRun, ReplayPlan, Totals
from streams.deadletters.store import DeadLetterStore, require_all
from streams.settings import Settings

KAFKA_SECONDS = 15.0
"""Timeout of a read or of a mark; an election of a new controller takes up to 10 s."""


class DeadLetters:
    """The dead letters of one cluster.

    Attributes:
        index: filled by another task.
        replays: the replays that this console has started.
        replays_max: failed replays after which a dead letter counts as parked.
    """

    def __init__(self, settings: Settings, replays: ReplayJobs | None = None) -> None:
        self.index = DeadLetterIndex()
        self.replays = replays or ReplayJobs(settings.kafka)
        self.replays_max = settings.deadletters.replays
        self._kafka = settings.kafka

    def entries(self) -> list[DeadLetterSummary]:
        """Return the dead letters of the index.

        Raises:
            CallError: the topics cannot be read, or are not read to their end yet.
        """
        self._check_index()
        return self.index.entries()

    async def find(self, dead_letter_id: str) -> DeadLetterRecord:
        """Read a dead letter from Kafka.

        Raises:
            CallError: the index has no such dead letter.
            UnknownDeadLetterError: Kafka has deleted it.
        """
        known = self._known(dead_letter_id)
        marks = {} if known.mark is None else {known.id: known.mark}
        return await self._read(known.id, marks)

    async def resolve(
        self, producer: RequestProducer, dead_letter_id: str, by: str, note: str
    ) -> DeadLetterStatus:
        """Record the order, and mark a dead letter as resolved; return the mark.

        Raises:
            CallError: the index has no such dead letter, or the note is too long.
            DecidedDeadLetterError: it is replayed.
            MissingAclError: an ACL is missing.
            BrokerTimeoutError: Kafka did not acknowledge in time.
        """
        if len(note) > NOTE_CHARACTERS_MAX:
            raise CallError(400, "note", f"note: longer than {NOTE_CHARACTERS_MAX} characters")
        self._known(dead_letter_id)
        await record_order(producer, "resolve", by, subject=dead_letter_id, note=note)
        found = await self.find(dead_letter_id)
        mark = DeadLetterStatus(state="resolved", by=by, at=datetime.now(UTC), note=note)
        await self._resolve(found, mark)
        self.index.mark(found.id, mark)
        return mark

    async def dry_run(self, plan: ReplayPlan) -> tuple[list[DeadLetterSummary], Totals]:
        """Return what a replay would publish, and its totals.

        Raises:
            UnknownDeadLetterError: an id of the plan is not there, or excluded by its criteria.
        """
        selected, totals = await asyncio.to_thread(_dry_run, self.entries(), plan)
        require_all(plan.criteria.ids, totals.seen)
        return selected, totals

    async def start_replay(
        self, producer: RequestProducer, order: ReplayOrder, plan: ReplayPlan
    ) -> ReplayJob:
        """Record an order, and start its replay; return when it has begun.

        Raises:
            CallError: a replay is running.
            UnknownDeadLetterError: an id of the plan is not there, or excluded by its criteria.
            BrokerTimeoutError: Kafka did not acknowledge the record in time.
            MissingAclError: an ACL is missing.
            ClusterUnavailableError: no broker answers, or a topic is missing.
        """
        _, totals = await self.dry_run(plan)
        self.replays.check_idle()
        options = {"limit": order.limit, "force": order.force or None}
        given = {name: value for name, value in options.items() if value is not None}
        await record_order(
            producer,
            "replay",
            plan.by,
            subject=(order.ids or ("",))[0],
            count=totals.replayed,
            note=text_of({**(order.filter or {}), **given}),
        )
        return await self.replays.start(plan, order.rate, totals.replayed)

    def _known(self, dead_letter_id: str) -> DeadLetterSummary:
        self._check_index()
        known = self.index.get(dead_letter_id)
        if known is None:
            raise CallError(404, "id", f"there is no dead letter {dead_letter_id[:100]!r}")
        return known

    def _check_index(self) -> None:
        if self.index.problem is not None:
            raise as_call_error(self.index.problem) or self.index.problem

    async def _read(
        self, dead_letter_id: str, marks: Mapping[str, DeadLetterStatus]
    ) -> DeadLetterRecord:
        async with _answered():
            [found] = await DeadLetterStore(self._kafka).find([dead_letter_id], marks)
        return found

    async def _resolve(self, found: DeadLetterRecord, mark: DeadLetterStatus) -> None:
        async with _answered():
            await operations.require_resolving(self._kafka)
            await operations.resolve(self._kafka, [found], mark)


def select_newest(
    entries: list[DeadLetterSummary], wanted: Filter, limit: int
) -> NewestDeadLetters[DeadLetterSummary]:
    """Return the newest entries that match, and the number of all that do."""
    newest: NewestDeadLetters[DeadLetterSummary] = NewestDeadLetters(wanted, limit)
    for each in entries:
        newest.add(each)
    return newest


@asynccontextmanager
async def _answered() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(KAFKA_SECONDS):
            yield
    except TimeoutError:
        raise BrokerTimeoutError(
            f"Kafka did not answer within {KAFKA_SECONDS:.0f} s; try again"
        ) from None


def _dry_run(
    entries: list[DeadLetterSummary], plan: ReplayPlan
) -> tuple[list[DeadLetterSummary], Totals]:
    dry_run = DryRun(plan)
    selected = [
        each for each in in_replay_order(entries) if not dry_run.is_complete and dry_run.add(each)
    ]
    return selected, dry_run.totals
