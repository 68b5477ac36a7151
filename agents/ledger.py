"""ledger: exactly one outcome per request.

Reads the audit topic, where every step tells what happened. The first outcome proposed for a
request is its outcome: it goes to the results and into a table. Records of one request come one
after the other, so the order on the topic decides, also after a crash.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from agents.letters import publish_result
from agents.outcomes import ended
from agents.step import as_bug, bare_job, unreadable
from schemas.audit import AuditRecord
from schemas.codec import MalformedMessageError, decode, encode
from schemas.messages import explain
from schemas.results import Completed, Result
from streams.envelope import open_envelope
from streams.metrics import END_TO_END, RESULTS
from streams.records import Effect, Incoming, TableWrite
from streams.stage import Handler, Stage, StageContext
from streams.topics import AUDIT
from streams.work import dead_letter

NAME = "ledger"
TABLE = "outcomes"
SWEEP_SECONDS = 60.0

LONE_SECONDS = 3_600.0
"""How long the outcome of a bug in the ledger itself is remembered."""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """A row: the outcome of a request, and which record decided it.

    The same record read again (its offset was not committed before a crash) publishes the same
    bytes again. Any other record about a decided request comes too late and changes nothing.
    """

    position: str
    expires_at: float
    outcome: msgspec.Raw


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
        except MalformedMessageError as error:
            return unreadable(record, error, NAME)
        if entry.outcome is None:
            return []
        row = self._read_row(entry.request_id)
        if row is None:
            return self.decide(entry.request_id, entry.outcome, record, envelope.id)
        return self._repeat(entry.outcome, decode(row, Decided), record, envelope.id)

    def decide(
        self, request_id: str, outcome: Result, record: Incoming, cause: str
    ) -> Sequence[Effect]:
        """Return the outcome as the result and as the row that keeps it the only one."""
        body = encode(outcome)
        decided = Decided(
            position=record.position,
            expires_at=self._clock() + self._remember_seconds,
            outcome=msgspec.Raw(body),
        )
        _measure(outcome)
        return [
            TableWrite(TABLE, request_id, encode(decided)),
            publish_result(request_id, _status(outcome), body, outcome.trace_id, cause),
        ]

    def _repeat(
        self, late: Result, decided: Decided, record: Incoming, cause: str
    ) -> Sequence[Effect]:
        if decided.position != record.position:
            return []
        body = bytes(decided.outcome)
        return [publish_result(late.request_id, _status(late), body, late.trace_id, cause)]


def _status(outcome: Result) -> str:
    return str(outcome.__struct_config__.tag)


def _measure(outcome: Result) -> None:
    error_type = "" if isinstance(outcome, Completed) else outcome.error.error_type
    RESULTS.labels(_status(outcome), error_type).inc()
    END_TO_END.labels(_status(outcome)).observe(sum(outcome.timings.values()))


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return a dead letter and, so that nobody waits for ever, a short outcome that says so."""
    try:
        entry = decode(open_envelope(record).data, AuditRecord)
    except MalformedMessageError as malformed:
        return unreadable(record, malformed, NAME)
    bug = as_bug(error)
    context = explain(bug.code, operation=NAME, url="", details=bug.details)
    outcome = ended(bare_job(entry.request_id, record), context)
    lone = Ledger(lambda _: None, LONE_SECONDS)
    return [
        dead_letter(record, error, NAME),
        *lone.decide(entry.request_id, outcome, record, record.position),
    ]


@asynccontextmanager
async def open_ledger(context: StageContext) -> AsyncIterator[Handler]:
    """Watch the table's rows."""
    table = context.tables[TABLE]

    def sweep() -> Sequence[Effect]:
        now = time.time()
        old = [key for key, row in table.items() if decode(row, _Life).expires_at <= now]
        return [TableWrite(TABLE, key, None) for key in old]

    context.sweeps.append((SWEEP_SECONDS, sweep))
    yield Ledger(table.get, context.settings.ledger.remember_seconds).handle


class _Life(msgspec.Struct, frozen=True):
    expires_at: float


stage = Stage(name=NAME, sources=(AUDIT,), open=open_ledger, on_bug=on_bug, tables=(TABLE,))
