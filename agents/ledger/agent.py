"""ledger: exactly one result per request; requests are idempotent by their id.

Consumes the audit topic, to which every step reports its transitions. The first result proposed
for a request is the one that is published and recorded in a table; later ones are dropped. Records
of one request are on one partition and processed in order, so their order decides, also after a
crash.

Commands of users arrive on the same topic, so a request is either completed or cancelled, never
both. A retry is built from the snapshot of the request in its row.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

from agents.caching.row_expiry import expiry_of
from agents.ledger import batches
from agents.ledger.batches import Batches
from agents.ledger.bug_report import on_bug
from agents.ledger.duplicates import (
    DuplicateReports,
    belongs_to_other_request,
    drop_reason,
    repeated_content,
)
from agents.ledger.events import (
    NAME,
    TABLE,
    LedgerEvent,
    ResultHeader,
    introduce_batch,
    is_about_batch,
    measure,
    publish_outcome,
)
from agents.ledger.request_state import (
    Decided,
    Open,
    RequestSnapshot,
    is_open,
    read_row,
    snapshot_of,
)
from agents.ledger.user_commands import apply_command
from agents.pipeline.failures import recover_job
from agents.pipeline.results import status_of
from schemas import AuditRecord, ErrorCode, Job, MalformedMessageError, decode
from schemas.audit import NO_OUTCOME
from streams import (
    AUDIT,
    REQUESTS,
    Effect,
    Handler,
    Incoming,
    RowFields,
    Stage,
    StageContext,
    TableWrite,
    dead_letter,
    open_envelope,
    synchronous,
    tombstones,
)
from streams.observability.metrics import OPEN_REQUESTS, RESULTS
from streams.topics import RESULTS as RESULTS_TOPIC

SWEEP_SECONDS = 60.0

COUNT_SECONDS = 15.0
"""Interval of reporting the number of open requests."""

READ_AHEAD = 10_000
"""Records in flight: four seconds of work, more than back-pressure lets earlier stages queue up."""

FETCH_MIN_BYTES = 4_096
"""Above the 1.5 KB of an accepted request, which no client waits for, and below the 4.9 KB of its
result: both are fetched, and their rows written, together. Of failed requests the result is
smaller, and may wait for `Stage.fetch_min_bytes`. At 50/s the median fell from 10.7 to 8.9 ms in
three pairs, the CPU time of a request by 6 %; at 200/s and above within the noise."""

LATE_SECONDS = 3_600.0
"""Lifetime of an open request's row beyond its last retry, for a late result."""

FIRST_STEP = "validation"

COMMAND_STEPS = frozenset({"commands", NAME})
"""Steps whose results belong to commands: a command may have the same id as a request."""


class Ledger:
    """The stage's step.

    Args:
        read_row: reads a row of the table.
        batches: counts the decided members of batches.
        open_seconds: lifetime of the row of an open request.
        remember_seconds: lifetime of the row of a decided request.
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

    def handle(self, record: Incoming) -> Sequence[Effect]:
        """Handle a result proposal, a new request, a command or a batch record; ignore others."""
        try:
            envelope = open_envelope(record)
            entry = decode(envelope.data, AuditRecord)
            header = None if entry.outcome == NO_OUTCOME else decode(entry.outcome, ResultHeader)
        except MalformedMessageError as error:
            return self._unreadable(record, error)
        if is_about_batch(entry):
            return self._batches.handle(entry, record, envelope.id)
        state = read_row(self._read_row(entry.request_id))
        # Only a command may name a batch; all other records name a request.
        is_command = entry.command is not None or entry.step in COMMAND_STEPS
        batch = self._batches.get(entry.request_id) if is_command else None
        event = LedgerEvent(record, entry, envelope.id, state, batch)
        if header is not None:
            return self._decide(event, header)
        if entry.command is not None:
            return apply_command(event, entry.command, self._clock() + self._remember_seconds)
        return self._introduce(event)

    def _decide(self, event: LedgerEvent, header: ResultHeader) -> Sequence[Effect]:
        """Publish a proposed result if its request is open or on redelivery; else drop it."""
        entry, state = event.entry, event.state
        body = bytes(entry.outcome)
        published = publish_outcome(entry.request_id, header, body, event.cause, event.reply)
        batch = _introduce_batch(event)
        if isinstance(state, Decided):
            return [*batch, *published] if event.is_redelivery else self._drop(event, header)
        if (state or event.batch) and entry.step in COMMAND_STEPS:
            return self._drop(event, header)
        if (
            state is not None
            and header.trace_id != state.job.trace_id
            and belongs_to_other_request(state, header, _rejected_job(entry))
        ):
            return self._drop(event, header)
        measure(header, event.action)
        return [*batch, self._decided_row(event, header), *published]

    def _drop(self, event: LedgerEvent, header: ResultHeader) -> Sequence[Effect]:
        """Drop a result proposal, and report it when its request id is that of another request."""
        entry, reason = event.entry, drop_reason(event.state, header)
        self.duplicates.count_dropped(event, reason)
        if entry.step in COMMAND_STEPS and reason == "repeated":
            return self.duplicates.report_duplicate(event, "other", header.trace_id)
        job = _rejected_job(entry)
        return [] if job is None else self._report_duplicate(event, job)

    def _report_duplicate(self, event: LedgerEvent, job: Job) -> Sequence[Effect]:
        """Report a request whose id is already in use; nothing for a redelivered copy."""
        content = repeated_content(event.state, job.trace_id, snapshot_of(job))
        return (
            []
            if content is None
            else self.duplicates.report_duplicate(event, content, job.trace_id)
        )

    def _introduce(self, event: LedgerEvent) -> Sequence[Effect]:
        """Create the row of a new request."""
        job = event.entry.job
        if job is None:
            return []
        expires_at = self._clock() + self._open_seconds
        row = Open(job=snapshot_of(job), expires_at=expires_at)
        if event.state is not None and event.entry.transition == "accepted":
            return [*_introduce_batch(event), *self._report_duplicate(event, job)]
        return [*_introduce_batch(event), *([] if event.state else [event.write_row(row)])]

    def _decided_row(self, event: LedgerEvent, header: ResultHeader) -> TableWrite:
        """Return the row, with the snapshot for a retry unless the request is invalid."""
        job: RequestSnapshot | None = None
        if header.error is None or header.error.error_type is not ErrorCode.REQUEST_INVALID:
            if isinstance(event.state, Open):
                job = event.state.job
            elif event.entry.job is not None and event.entry.job.url:
                job = snapshot_of(event.entry.job)
        row = Decided(
            record_id=event.record.record_id,
            expires_at=self._clock() + self._remember_seconds,
            job=job,
            members=header.members,
            status=header.status,
            trace_id="" if job is not None and job.trace_id == header.trace_id else header.trace_id,
            reply=event.reply if job is None else None,
        )
        return event.write_row(row)

    def _unreadable(self, record: Incoming, error: MalformedMessageError) -> Sequence[Effect]:
        """Dead-letter a malformed record, and end its request as a bug unless it is decided.

        A batch stays open: a lost record of a batch does not end it.
        """
        owner = recover_job(record)
        if owner is not None and self._batches.get(owner.request_id) is not None:
            return [dead_letter(record, error, NAME)]
        state = None if owner is None else read_row(self._read_row(owner.request_id))
        if not isinstance(state, Decided) or state.record_id == record.record_id:
            return on_bug(record, error, state)
        return [dead_letter(record, error, NAME)]


def _rejected_job(entry: AuditRecord) -> Job | None:
    """Return the job of a request that validation ended, and that was never accepted."""
    return entry.job if entry.step == FIRST_STEP else None


def _introduce_batch(event: LedgerEvent) -> Sequence[Effect]:
    """Return the record that registers a batch, when the event concerns its first member."""
    job = event.entry.job
    # The replay of a member is a request of its own; its batch is closed.
    if job is None or job.batch is None or job.batch.index > 0 or job.replays:
        return []
    return [introduce_batch(job, NAME, event.cause)]


@asynccontextmanager
async def open_ledger(context: StageContext) -> AsyncIterator[Handler]:
    table, batch_table = context.indexed_tables[TABLE], context.tables[batches.TABLE]
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

    def count_open() -> Iterator[Sequence[Effect]]:
        OPEN_REQUESTS.set(table.counted)
        yield ()

    def sweep() -> Iterator[Sequence[Effect]]:
        ledger.duplicates.log_counts()
        return (tombstones(TABLE, keys) for keys in table.expired(time.time()))

    RESULTS.labels("completed", "")
    for code in ErrorCode:
        RESULTS.labels(status_of(code), code)
    context.periodic.append((SWEEP_SECONDS, sweep))
    context.periodic.append((SWEEP_SECONDS, lambda: counts.sweep(batch_table.slices)))
    context.periodic.append((COUNT_SECONDS, count_open))
    yield synchronous(ledger.handle)


stage = Stage(
    name=NAME,
    sources=(AUDIT,),
    open=open_ledger,
    on_bug=on_bug,
    writes=(RESULTS_TOPIC, REQUESTS, AUDIT),
    purpose="publishes exactly one outcome per URL",
    tables=(TABLE, batches.TABLE),
    indexes={TABLE: RowFields(expiry_of, is_open)},
    window=lambda settings: max(settings.stage.window, READ_AHEAD),
    fetch_min_bytes=FETCH_MIN_BYTES,
)
