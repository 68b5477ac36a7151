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

from agents.caching.rows import no_longer_kept
from agents.records.letters import introduce_batch, publish_result
from agents.records.owners import owner_of
from agents.requests.known_requests import (
    Batch,
    Decided,
    Essence,
    Known,
    Open,
    essence_of,
    read_row,
)
from agents.requests.ledger_bugs import on_bug
from agents.requests.ledger_news import NAME, TABLE, Head, News, measure
from agents.requests.orders import obey
from schemas.audit import NO_OUTCOME, AuditRecord
from schemas.codec import MalformedMessageError, decode
from schemas.errors import ErrorCode
from streams.envelope import open_envelope
from streams.records import Effect, Incoming, TableWrite
from streams.stage import Handler, Stage, StageContext
from streams.topics import AUDIT
from streams.work import dead_letter

SWEEP_SECONDS = 60.0

ROWS_BYTES_MAX = 150 * 2**20
"""Memory of the rows of one process: 330,000 requests of the usual kind, measured at 470 bytes
each. Beyond that those are forgotten that would be next."""

LATE_SECONDS = 3_600.0
"""How much longer than its retries an open request is known: what comes last may be late."""

ANSWERING = frozenset({"commands", NAME})
"""Steps whose outcomes are answers to orders. Somebody may name an order like a request."""


class Ledger:
    """The stage's work.

    Args:
        read_row: reads a row of the table.
        open_seconds: how long a request without an outcome is known.
        remember_seconds: how long one with an outcome is.
        clock: epoch seconds.
    """

    def __init__(
        self,
        read_row: Callable[[str], bytes | None],
        *,
        open_seconds: float,
        remember_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read_row = read_row
        self._open_seconds = open_seconds
        self._remember_seconds = remember_seconds
        self._clock = clock

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return what a record decides, introduces or orders; nothing for all other records."""
        try:
            envelope = open_envelope(record)
            entry = decode(envelope.data, AuditRecord)
            head = None if entry.outcome == NO_OUTCOME else decode(entry.outcome, Head)
        except MalformedMessageError as error:
            return self._unreadable(record, error)
        news = News(record, entry, envelope.id, read_row(self._read_row(entry.request_id)))
        if head is not None:
            return self._end(news, head)
        if entry.command is not None:
            return obey(news, entry.command, self._clock() + self._remember_seconds)
        return self._meet(news)

    def _end(self, news: News, head: Head) -> Sequence[Effect]:
        """Return the outcome of a request that has none yet."""
        entry = news.entry
        result = publish_result(
            entry.request_id, head.status, bytes(entry.outcome), head.trace_id, news.cause
        )
        batch = _introduced(news)
        if isinstance(news.known, Decided):
            return [*batch, result] if news.decided else []
        if news.known is not None and entry.step in ANSWERING:
            return []
        measure(head)
        return [*batch, self._decide(news, head), result]

    def _meet(self, news: News) -> Sequence[Effect]:
        """Return the row of a request, or of a batch, that is heard of for the first time."""
        job = news.entry.job
        if job is None:
            return []
        expires_at = self._clock() + self._open_seconds
        if job.batch is not None and news.entry.request_id == job.batch.id:
            row: Known = Batch(size=job.batch.size, expires_at=expires_at)
            return [] if news.known else [news.row(row)]
        row = Open(job=essence_of(job), expires_at=expires_at)
        is_new = news.known is None or isinstance(news.known, Batch)
        return [*_introduced(news), *([news.row(row)] if is_new else [])]

    def _decide(self, news: News, head: Head) -> TableWrite:
        row = Decided(
            position=news.record.position,
            expires_at=self._clock() + self._remember_seconds,
            job=_worth_keeping(news, head),
            members=head.members,
        )
        return news.row(row)

    def _unreadable(self, record: Incoming, error: MalformedMessageError) -> Sequence[Effect]:
        """Return the record as a dead letter; a request that is decided stays as it is."""
        owner = owner_of(record)
        known = None if owner is None else read_row(self._read_row(owner.request_id))
        if not isinstance(known, Decided) or known.position == record.position:
            return on_bug(record, error)
        return [dead_letter(record, error, NAME)]

    def forgotten(self, rows: Mapping[str, bytes]) -> list[str]:
        """Return the requests that need not be known any more, and the first to go of too many."""
        return no_longer_kept(rows, self._clock(), ROWS_BYTES_MAX)


def _introduced(news: News) -> Sequence[Effect]:
    """Return what makes a batch known, when this is news of its first member."""
    job = news.entry.job
    if job is None or job.batch is None or job.batch.index > 0:
        return []
    return [introduce_batch(job, NAME, news.cause)]


def _worth_keeping(news: News, head: Head) -> Essence | None:
    """Return what is needed to ask for a request again; nothing of what was none."""
    if head.error is not None and head.error.error_type is ErrorCode.REQUEST_INVALID:
        return None
    if isinstance(news.known, Open):
        return news.known.job
    job = news.entry.job
    return essence_of(job) if job is not None and job.url else None


@asynccontextmanager
async def open_ledger(context: StageContext) -> AsyncIterator[Handler]:
    """Watch the table's rows."""
    table = context.tables[TABLE]
    settings = context.settings
    ledger = Ledger(
        table.get,
        open_seconds=settings.retry.total_seconds + LATE_SECONDS,
        remember_seconds=settings.ledger.remember_seconds,
    )

    def sweep() -> Sequence[Effect]:
        return [TableWrite(TABLE, key, None) for key in ledger.forgotten(dict(table.items()))]

    context.sweeps.append((SWEEP_SECONDS, sweep))
    yield ledger.handle


stage = Stage(name=NAME, sources=(AUDIT,), open=open_ledger, on_bug=on_bug, tables=(TABLE,))
