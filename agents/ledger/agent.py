"""ledger: exactly one outcome per request.

Reads the audit topic, where every step tells what happened. The first outcome proposed for a
request is its outcome: it goes to the results and into a table. Records of one request come one
after the other, so the order on the topic decides, also after a crash.

Users' orders stand on the same topic. So a request is either done or cancelled, never both, and
can be asked for again from what is known of it.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from agents.caching.row_expiry import no_longer_kept
from agents.ledger import batches
from agents.ledger.batch_records import introduce_batch
from agents.ledger.batches import Batches, is_about_batch
from agents.ledger.bug_report import on_bug
from agents.ledger.duplicates import DuplicateReports, drop_reason, is_of_another, repeated_content
from agents.ledger.events import NAME, TABLE, LedgerEvent, ResultHeader, measure, publish_outcome
from agents.ledger.request_state import (
    Decided,
    Open,
    RequestSnapshot,
    essence_of,
    is_open,
    read_row,
)
from agents.ledger.user_commands import apply_command
from agents.pipeline.ownership import recover_job
from agents.pipeline.results import status_of
from schemas.audit import NO_OUTCOME, AuditRecord
from schemas.codec import MalformedMessageError, decode
from schemas.errors import ErrorCode
from schemas.job import Job
from streams.envelope import open_envelope
from streams.observability.metrics import OPEN_REQUESTS, RESULTS
from streams.records import Effect, Incoming, TableWrite
from streams.runtime.processor import dead_letter
from streams.stage import Handler, Stage, StageContext
from streams.topics import AUDIT

SWEEP_SECONDS = 60.0

COUNT_SECONDS = 15.0
"""Pause between counts of the open requests: one takes 50 ns a row, 17 ms for 330,000 rows."""

ROWS_BYTES_MAX = 150 * 2**20
"""Memory of the rows of one process: 330,000 requests of the usual kind, measured at 470 bytes
each. Beyond that those are forgotten that would be next."""

READ_AHEAD = 10_000
"""Records that are held: four seconds of work, more than earlier stages may put in front of it."""

LATE_SECONDS = 3_600.0
"""How much longer than its retries an open request is known: what comes last may be late."""

FIRST_STEP = "validation"

COMMAND_STEPS = frozenset({"commands", NAME})
"""Steps whose outcomes are answers to orders. Somebody may name an order like a request."""


class Ledger:
    """The stage's work.

    Args:
        read_row: reads a row of the table.
        batches: counts the decided members of batches.
        open_seconds: how long a request without an outcome is known.
        remember_seconds: how long one with an outcome is.
        clock: epoch seconds.
    """

    def __init__(
        self,
        read_row: Callable[[str], bytes | None],
        batches: Batches,
        *,
        open_seconds: float,
        remember_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read_row = read_row
        self._batches = batches
        self._open_seconds = open_seconds
        self._remember_seconds = remember_seconds
        self._clock = clock
        self.duplicates = DuplicateReports()

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return what a record decides, introduces or orders; nothing for all other records."""
        try:
            envelope = open_envelope(record)
            entry = decode(envelope.data, AuditRecord)
            head = None if entry.outcome == NO_OUTCOME else decode(entry.outcome, ResultHeader)
        except MalformedMessageError as error:
            return self._unreadable(record, error)
        if is_about_batch(entry):
            return self._batches.handle(entry, record, envelope.id)
        known = read_row(self._read_row(entry.request_id))
        batch = self._batches.known(entry.request_id)
        news = LedgerEvent(record, entry, envelope.id, known, batch)
        if head is not None:
            return self._end(news, head)
        if entry.command is not None:
            return apply_command(news, entry.command, self._clock() + self._remember_seconds)
        return self._meet(news)

    def _end(self, news: LedgerEvent, head: ResultHeader) -> Sequence[Effect]:
        """Return the outcome of a request that has none yet."""
        entry = news.entry
        body = bytes(entry.outcome)
        published = publish_outcome(entry.request_id, head, body, news.cause, news.reply)
        batch = _introduced(news)
        if isinstance(news.known, Decided):
            return [*batch, *published] if news.decided else self._drop(news, head)
        if (news.known or news.batch) and entry.step in COMMAND_STEPS:
            return self._drop(news, head)
        if is_of_another(news.known, head, _refused_job(entry)):
            return self._drop(news, head)
        measure(head, news.action)
        return [*batch, self._decide(news, head), *published]

    def _drop(self, news: LedgerEvent, head: ResultHeader) -> Sequence[Effect]:
        """Return the report of an outcome that comes too late; an accepted request has had one."""
        entry, reason = news.entry, drop_reason(news.known, head)
        self.duplicates.dropped(news, reason)
        if entry.step in COMMAND_STEPS and reason == "repeated":
            return self.duplicates.repeated(news, "other", head.trace_id)
        job = _refused_job(entry)
        return [] if job is None else self._repeated(news, job)

    def _repeated(self, news: LedgerEvent, job: Job) -> Sequence[Effect]:
        """Return the report of a request whose id is that of another one."""
        content = repeated_content(news.known, job.trace_id, essence_of(job))
        return [] if content is None else self.duplicates.repeated(news, content, job.trace_id)

    def _meet(self, news: LedgerEvent) -> Sequence[Effect]:
        """Return the row of a request that is heard of for the first time."""
        job = news.entry.job
        if job is None:
            return []
        expires_at = self._clock() + self._open_seconds
        row = Open(job=essence_of(job), expires_at=expires_at)
        if news.known is not None and news.entry.transition == "accepted":
            return [*_introduced(news), *self._repeated(news, job)]
        return [*_introduced(news), *([] if news.known else [news.row(row)])]

    def _decide(self, news: LedgerEvent, head: ResultHeader) -> TableWrite:
        job = _worth_keeping(news, head)
        row = Decided(
            record_id=news.record.record_id,
            expires_at=self._clock() + self._remember_seconds,
            job=job,
            members=head.members,
            status=head.status,
            trace_id="" if job is not None and job.trace_id == head.trace_id else head.trace_id,
            reply=news.reply if job is None else None,
        )
        return news.row(row)

    def _unreadable(self, record: Incoming, error: MalformedMessageError) -> Sequence[Effect]:
        """Return the record as a dead letter; a request that is decided stays as it is.

        So does a batch: one record less ends none.
        """
        owner = recover_job(record)
        if owner is not None and self._batches.known(owner.request_id) is not None:
            return [dead_letter(record, error, NAME)]
        known = None if owner is None else read_row(self._read_row(owner.request_id))
        if not isinstance(known, Decided) or known.record_id == record.record_id:
            return on_bug(record, error, known)
        return [dead_letter(record, error, NAME)]

    def forgotten(self, rows: Mapping[str, bytes]) -> list[str]:
        """Return the requests that need not be known any more, and the first to go of too many."""
        return no_longer_kept(rows, self._clock(), ROWS_BYTES_MAX)


def _refused_job(entry: AuditRecord) -> Job | None:
    """Return the job of a request that validation has ended: it has not been accepted before."""
    return entry.job if entry.step == FIRST_STEP else None


def _introduced(news: LedgerEvent) -> Sequence[Effect]:
    """Return what makes a batch known, when this is news of its first member."""
    job = news.entry.job
    # The replay of a member is a request of its own: its batch ended long ago.
    if job is None or job.batch is None or job.batch.index > 0 or job.replays:
        return []
    return [introduce_batch(job, NAME, news.cause)]


def _worth_keeping(news: LedgerEvent, head: ResultHeader) -> RequestSnapshot | None:
    """Return what is needed to ask for a request again; nothing of what was none."""
    if head.error is not None and head.error.error_type is ErrorCode.REQUEST_INVALID:
        return None
    if isinstance(news.known, Open):
        return news.known.job
    job = news.entry.job
    return essence_of(job) if job is not None and job.url else None


@asynccontextmanager
async def open_ledger(context: StageContext) -> AsyncIterator[Handler]:
    """Watch the rows of both tables."""
    table, batch_table = context.tables[TABLE], context.tables[batches.TABLE]
    settings = context.settings
    open_seconds = settings.retry.total_seconds + LATE_SECONDS
    remember_seconds = settings.ledger.remember_seconds
    counts = Batches(
        batch_table.get,
        is_request=lambda request_id: table.get(request_id) is not None,
        open_seconds=open_seconds,
        remember_seconds=remember_seconds,
    )
    ledger = Ledger(table.get, counts, open_seconds=open_seconds, remember_seconds=remember_seconds)

    def count_open() -> Sequence[Effect]:
        OPEN_REQUESTS.set(sum(map(is_open, table.rows())))
        return ()

    def sweep() -> Sequence[Effect]:
        ledger.duplicates.log_counts()
        return [TableWrite(TABLE, key, None) for key in ledger.forgotten(dict(table.items()))]

    def sweep_batches() -> Sequence[Effect]:
        return counts.sweep(dict(batch_table.items()))

    RESULTS.labels("completed", "")
    for code in ErrorCode:
        RESULTS.labels(status_of(code), code)
    context.sweeps.append((SWEEP_SECONDS, sweep))
    context.sweeps.append((SWEEP_SECONDS, sweep_batches))
    context.sweeps.append((COUNT_SECONDS, count_open))
    yield ledger.handle


stage = Stage(
    name=NAME,
    sources=(AUDIT,),
    open=open_ledger,
    on_bug=on_bug,
    tables=(TABLE, batches.TABLE),
    window=lambda settings: max(settings.stage.window, READ_AHEAD),
)
