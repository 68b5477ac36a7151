"""What the ledger knows of a batch: the rows of its table ``batches``. Pure.

A row counts decided members in a bitmap, so a copy of a report counts once and the order of the
reports does not matter. 1,000 members are 125 bytes.
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
        expires_at: epoch second at which an open batch is closed, and a closed one is forgotten.
        size: members; 0 until a record tells how many there are.
        decided: bitmap of the members that have an outcome, little-endian.
        counts: these members by status.
        finished_at: when the last of them was decided.
        closed_by: position of the record that closed the batch, "" while it is open. That record
            publishes the summary, and does so again, the same bytes, when it is read again.
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
        """Number of members that have an outcome."""
        return int.from_bytes(self.decided, "little").bit_count()

    @property
    def is_complete(self) -> bool:
        """Whether every member has an outcome."""
        return 0 < self.size <= self.members_decided

    def expires(self, at: float) -> "Batch":
        """Return the batch with another end of its row."""
        return msgspec.structs.replace(self, expires_at=at)

    def introduced(self, head: "Batch") -> "Batch":
        """Return the batch with what a record tells of all members.

        The first record that knows the size is believed in all but the size: when a client asks
        for two batches by one name, the larger one is awaited.
        """
        if self.size:
            size = max(self.size, head.size)
            return self if size == self.size else msgspec.structs.replace(self, size=size)
        return msgspec.structs.replace(
            self,
            received_at=head.received_at,
            trace_id=head.trace_id,
            trace=head.trace,
            attributes=head.attributes,
            retry_of=head.retry_of,
            reply=head.reply,
            size=head.size,
        )

    def counted(self, member: MemberOutcome) -> "Batch":
        """Return the batch with one more decided member; the same one for a copy of a report."""
        known, bit = int.from_bytes(self.decided, "little"), 1 << member.index
        if known & bit or (self.size and member.index >= self.size):
            return self
        known |= bit
        more = {member.status: getattr(self.counts, member.status) + 1}
        return msgspec.structs.replace(
            self,
            decided=known.to_bytes((known.bit_length() + 7) // 8, "little"),
            counts=msgspec.structs.replace(self.counts, **more),
            finished_at=_later(self.finished_at, member.finished_at),
        )

    def closed(self, position: str) -> "Batch":
        """Return the batch as it ends with the record at a position."""
        undecided = max(0, self.size - self.members_decided)
        counts = msgspec.structs.replace(self.counts, undecided=undecided)
        return msgspec.structs.replace(self, closed_by=position, counts=counts)

    def given_up(self, at: datetime, position: str) -> "Batch":
        """Return the batch as it ends when its last members are not waited for."""
        waited = msgspec.structs.replace(self, finished_at=_later(self.finished_at, at))
        return waited.closed(position)


def read_batch(row: bytes | None) -> Batch | None:
    """Return what a row says; None when there is none or it cannot be read."""
    try:
        return None if row is None else decode(row, Batch)
    except MalformedMessageError:
        return None


def batch_of_job(job: Job) -> Batch:
    """Return the batch that a job is a member of, as far as the job tells."""
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
    """Return the batch that a decided member belongs to, as far as its report tells."""
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
    """Return the summary of a closed batch."""
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


def _later(first: datetime | None, second: datetime) -> datetime:
    return second if first is None else max(first, second)
