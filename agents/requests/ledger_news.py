"""A record of the audit topic as the ledger sees it: what it says, and what was known before."""

from typing import Literal

import msgspec

from agents.requests.known_requests import Decided, Known
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.moment import Moment
from streams.metrics import END_TO_END, RESULTS
from streams.records import Incoming, TableWrite

NAME = "ledger"
TABLE = "outcomes"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger itself wants to know of an outcome."""

    status: Literal["completed", "rejected", "failed", "expired", "cancelled"]
    trace_id: str
    received_at: Moment
    finished_at: Moment
    members: int = 0
    error: "HeadError | None" = None


class HeadError(msgspec.Struct, frozen=True):
    """The code of an outcome that is no success."""

    error_type: ErrorCode


class News(msgspec.Struct, frozen=True):
    """A record of the audit topic, and what is known of its request.

    ``cause`` is the id of its event.
    """

    record: Incoming
    entry: AuditRecord
    cause: str
    known: Known | None

    @property
    def decided(self) -> bool:
        """Whether this very record has decided the request, before a crash."""
        return isinstance(self.known, Decided) and self.known.position == self.record.position

    def row(self, row: Known) -> TableWrite:
        """Return the row of the request to be written."""
        return TableWrite(TABLE, self.entry.request_id, encode(row))


def measure(head: Head) -> None:
    """Count an outcome that has just been decided."""
    RESULTS.labels(head.status, head.error.error_type if head.error else "").inc()
    END_TO_END.labels(head.status).observe((head.finished_at - head.received_at).total_seconds())
