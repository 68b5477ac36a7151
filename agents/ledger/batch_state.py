"""Batch state of the ledger: the rows of its table ``batches``. Pure.

A row counts decided members in a bitmap, so counting is idempotent and independent of the order of
the reports. 1,000 members take 125 bytes.
"""

from datetime import datetime

import msgspec

from agents.ledger.request_state import NO_ORIGIN, TraceOrigin, trace_origin
from schemas.audit import MemberOutcome
from schemas.codec import MalformedMessageError, Moment, decode
from schemas.job import Job
from schemas.request import Reply
from schemas.results import BatchCounts, BatchFinished
from streams.tracing.scope import origin_of


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row.

    Attributes:
        expires_at: epoch second at which an open batch is closed, and a closed one is deleted.
        size: number of members; 0 while unknown.
        decided: bitmap of the members with a result, little-endian.
        counts: decided members by status.
        finished_at: when the last member was decided.
        closed_by: position of the record that closed the batch, "" while it is open. When that
            record is redelivered, it publishes the same summary again, byte for byte.
    """

    expires_at: float
    received_at: Moment
    trace_id: str
    attributes: dict[str, str] = {}
    retry_of: str | None = None
    reply: Reply | None = None
    size: int = 0
    decided: bytes = b""
    counts: BatchCounts = BatchCounts()
    finished_at: Moment | None = None
    closed_by: str = ""
    trace: TraceOrigin = NO_ORIGIN

    @property
    def members_decided(self) -> int:
        return int.from_bytes(self.decided, "little").bit_count()

    @property
    def is_complete(self) -> bool:
        return 0 < self.size <= self.members_decided

    def with_expiry(self, at: float) -> "Batch":
        return msgspec.structs.replace(self, expires_at=at)

    def after_introduction(self, shared: "Batch") -> "Batch":
        """Return the batch with the fields that all its members share.

        The first record with a size sets them, later ones can only raise the size: if a client
        submits two batches under one id, the ledger waits for the larger one.
        """
        if self.size:
            size = max(self.size, shared.size)
            return self if size == self.size else msgspec.structs.replace(self, size=size)
        return msgspec.structs.replace(
            self,
            received_at=shared.received_at,
            trace_id=shared.trace_id,
            trace=shared.trace,
            attributes=shared.attributes,
            retry_of=shared.retry_of,
            reply=shared.reply,
            size=shared.size,
        )

    def after_member(self, member: MemberOutcome) -> "Batch":
        """Return the batch with one more decided member; unchanged for a redelivered report."""
        known, bit = int.from_bytes(self.decided, "little"), 1 << member.index
        if known & bit or (self.size and member.index >= self.size):
            return self
        known |= bit
        more = {member.status: getattr(self.counts, member.status) + 1}
        return msgspec.structs.replace(
            self,
            decided=known.to_bytes((known.bit_length() + 7) // 8, "little"),
            counts=msgspec.structs.replace(self.counts, **more),
            finished_at=_latest(self.finished_at, member.finished_at),
        )

    def after_close(self, position: str) -> "Batch":
        """Return the batch as closed by the record at a position."""
        undecided = max(0, self.size - self.members_decided)
        counts = msgspec.structs.replace(self.counts, undecided=undecided)
        return msgspec.structs.replace(self, closed_by=position, counts=counts)

    def after_expiry(self, at: datetime, position: str) -> "Batch":
        """Return the batch as closed with undecided members."""
        expired = msgspec.structs.replace(self, finished_at=_latest(self.finished_at, at))
        return expired.after_close(position)


def read_batch(row: bytes | None) -> Batch | None:
    """Decode a row; None when it is missing or malformed."""
    try:
        return None if row is None else decode(row, Batch)
    except MalformedMessageError:
        return None


def batch_of_job(job: Job) -> Batch:
    """Return the batch of a member's job, with no decided members."""
    assert job.batch is not None
    return Batch(
        expires_at=0.0,
        received_at=job.received_at,
        trace_id=job.trace_id,
        trace=trace_origin(origin_of(job.trace_id)),
        attributes=job.attributes,
        retry_of=job.retry_of,
        reply=job.reply,
        size=job.batch.size,
    )


def batch_of_member(member: MemberOutcome) -> Batch:
    """Return the batch of a decided member from its report, with no decided members."""
    return Batch(
        expires_at=0.0,
        received_at=member.received_at,
        trace_id=member.trace_id,
        trace=trace_origin(origin_of(member.trace_id)),
        attributes=member.attributes,
        retry_of=member.retry_of,
        reply=member.reply,
        size=member.size,
    )


def summary_of(batch_id: str, batch: Batch) -> BatchFinished:
    return BatchFinished(
        request_id=batch_id,
        batch_size=batch.size,
        counts=batch.counts,
        received_at=batch.received_at,
        finished_at=batch.finished_at or batch.received_at,
        trace_id=batch.trace_id,
        attributes=batch.attributes,
        retry_of=batch.retry_of,
    )


def _latest(first: datetime | None, second: datetime) -> datetime:
    return second if first is None else max(first, second)
