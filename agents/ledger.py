"""ledger: exactly one outcome per request.

Reads the audit topic, where every step tells what happened. The first outcome proposed for a
request is its outcome: it goes to the results and into a table. Records of one request come one
after the other, so the order on the topic decides, also after a crash.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from heapq import nsmallest
from typing import Literal

import msgspec

from agents.letters import publish_result
from agents.outcomes import ended, facts_of
from agents.step import as_bug, owner_of
from schemas.audit import NO_OUTCOME, AuditRecord
from schemas.codec import MalformedMessageError, decode, encode
from schemas.errors import ErrorCode
from schemas.messages import explain
from schemas.moment import Moment
from streams.envelope import open_envelope
from streams.metrics import END_TO_END, RESULTS
from streams.records import Effect, Incoming, TableWrite
from streams.stage import Handler, Stage, StageContext
from streams.topics import AUDIT
from streams.work import dead_letter

NAME = "ledger"
TABLE = "outcomes"
SWEEP_SECONDS = 60.0

ROWS_MAX = 500_000
"""Requests known at a time by one process, about 300 bytes each: 150 MB at most."""

LONE_SECONDS = 3_600.0
"""How long the outcome of a bug in the ledger itself is remembered."""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """A row: which record decided a request, and the epoch second up to which that is known.

    The same record read again (its offset was not committed before a crash) publishes its outcome
    again, the same bytes. Any other record about a decided request comes too late.
    """

    position: str
    expires_at: float


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger itself wants to know of an outcome."""

    status: Literal["completed", "rejected", "failed", "expired", "cancelled"]
    trace_id: str
    received_at: Moment
    finished_at: Moment
    error: "HeadError | None" = None


class HeadError(msgspec.Struct, frozen=True):
    """The code of an outcome that is no success."""

    error_type: ErrorCode


class Ledger:
    """The stage's work."""

    def __init__(
        self,
        read_row: Callable[[str], bytes | None],
        remember_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read_row = read_row
        self._remember_seconds = remember_seconds
        self._clock = clock

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return the result that a record decides, nothing for all other records."""
        try:
            envelope = open_envelope(record)
            entry = decode(envelope.data, AuditRecord)
            if entry.outcome == NO_OUTCOME:
                return []
            head = decode(entry.outcome, Head)
        except MalformedMessageError as error:
            return self._unreadable(record, error)
        row = self._read_row(entry.request_id)
        result = publish_result(
            entry.request_id, head.status, bytes(entry.outcome), head.trace_id, envelope.id
        )
        if row is None:
            _measure(head)
            return [self.decide(entry.request_id, record), result]
        return [result] if _decided_by(row, record) else []

    def _unreadable(self, record: Incoming, error: MalformedMessageError) -> Sequence[Effect]:
        """Return the record as a dead letter; a request that is decided stays as it is."""
        owner = owner_of(record)
        row = None if owner is None else self._read_row(owner.request_id)
        if row is None or _decided_by(row, record):
            return on_bug(record, error)
        return [dead_letter(record, error, NAME)]

    def decide(self, request_id: str, record: Incoming) -> TableWrite:
        """Return the row that makes this record the one that decides."""
        expires_at = self._clock() + self._remember_seconds
        row = Decided(position=record.position, expires_at=expires_at)
        return TableWrite(TABLE, request_id, encode(row))

    def forgotten(self, rows: Mapping[str, bytes]) -> list[str]:
        """Return the requests that need not be known any more, and the oldest of too many."""
        now = self._clock()
        ends = {key: _end(row) for key, row in rows.items()}
        surplus = max(0, len(ends) - ROWS_MAX)
        oldest = set(nsmallest(surplus, ends, key=ends.__getitem__))
        return [key for key, end in ends.items() if end <= now or key in oldest]


def _decided_by(row: bytes, record: Incoming) -> bool:
    with suppress(MalformedMessageError):
        return decode(row, Decided).position == record.position
    return False


def _end(row: bytes) -> float:
    with suppress(MalformedMessageError):
        return decode(row, Decided).expires_at
    return 0.0


def _measure(head: Head) -> None:
    RESULTS.labels(head.status, head.error.error_type if head.error else "").inc()
    END_TO_END.labels(head.status).observe((head.finished_at - head.received_at).total_seconds())


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return a dead letter and, so that nobody waits for ever, an outcome that says so.

    It goes straight to the results: a detour by the audit topic would come back here. Made anew
    of the same record it is the same, to the byte.
    """
    letter = dead_letter(record, error, NAME)
    owner = owner_of(record)
    if owner is None:
        return [letter]
    bug = as_bug(error)
    context = explain(bug.code, operation=NAME, url=owner.url, details=facts_of(bug))
    outcome = msgspec.structs.replace(ended(owner, context), finished_at=owner.received_at)
    row = Ledger(lambda _: None, LONE_SECONDS).decide(owner.request_id, record)
    result = publish_result(
        owner.request_id, "failed", encode(outcome), outcome.trace_id, record.position
    )
    return [letter, row, result]


@asynccontextmanager
async def open_ledger(context: StageContext) -> AsyncIterator[Handler]:
    """Watch the table's rows."""
    table = context.tables[TABLE]
    ledger = Ledger(table.get, context.settings.ledger.remember_seconds)

    def sweep() -> Sequence[Effect]:
        return [TableWrite(TABLE, key, None) for key in ledger.forgotten(dict(table.items()))]

    context.sweeps.append((SWEEP_SECONDS, sweep))
    yield ledger.handle


stage = Stage(name=NAME, sources=(AUDIT,), open=open_ledger, on_bug=on_bug, tables=(TABLE,))
