"""Audit records about batches: registration, results of members, expiry; and the summary.

All are keyed by batch id and so belong to the partition whose ledger counts the members. Event ids
are deterministic, so redelivered records can be deduplicated.
"""

import re
from datetime import datetime

from agents.pipeline.events import correlation_headers
from schemas.audit import AuditRecord, MemberOutcome, Transition
from schemas.codec import encode
from schemas.job import Job
from schemas.request import Reply
from schemas.results import BatchFinished
from streams.envelope import seal
from streams.records import Outgoing
from streams.topics import AUDIT, RESULTS

_MEMBER = re.compile(r"(?P<batch>.+)/(?P<index>[0-9]{1,3})")
"""Ids of members, with an index below 1,000. The replay of a member, ``<batch>/3/replay-1``, is a
request of its own and does not count again."""


def parse_member_id(request_id: str) -> tuple[str, int] | None:
    """Return batch id and index of a member's id; None for other ids: client ids have no slash."""
    found = _MEMBER.fullmatch(request_id)
    return (found["batch"], int(found["index"])) if found else None


def introduce_batch(first: Job, step: str, cause: str | None) -> Outgoing:
    """Return the record that registers a batch under its own id, from its first member."""
    assert first.batch is not None
    record = AuditRecord(
        request_id=first.batch.id,
        step=step,
        transition="accepted",
        at=first.received_at,
        detail={"members": str(first.batch.size)},
        job=first,
    )
    return _to_batch(record, step, cause, first.trace_id)


def report_member(batch_id: str, member: MemberOutcome, step: str, cause: str) -> Outgoing:
    """Return the record that reports a member's result to the ledger of its batch."""
    record = AuditRecord(
        request_id=batch_id,
        step=step,
        transition="member_decided",
        at=member.finished_at,
        detail={"member": str(member.index), "status": member.status},
        member=member,
    )
    return _to_batch(record, step, cause, member.trace_id, part=f":{member.index}")


EXPIRES_AT = "expires_at"
"""Detail of ``batch_expired``: the expiry, in epoch seconds, at which the row was swept."""


def expire_batch(
    batch_id: str, expires_at: float, trace_id: str, step: str, at: datetime
) -> Outgoing:
    """Return the record that closes an expired batch with undecided members.

    It has no effect once the row has another ``expires_at``: a member was decided in between.
    """
    record = AuditRecord(
        request_id=batch_id,
        step=step,
        transition="batch_expired",
        at=at,
        detail={EXPIRES_AT: repr(expires_at)},
    )
    return _to_batch(record, step, None, trace_id, part=f":{expires_at!r}")


def publish_summary(
    summary: BatchFinished, step: str, cause: str, reply: Reply | None = None
) -> Outgoing:
    kind = "batch.finished.v1"
    return seal(
        RESULTS,
        summary.request_id,
        encode(summary),
        kind=kind,
        step=step,
        event_id=f"{summary.request_id}:{kind}",
        request_id=summary.request_id,
        trace_id=summary.trace_id,
        cause_id=cause,
        extra=correlation_headers(reply),
        reply_to=reply.topic if reply else None,
    )


def _to_batch(
    record: AuditRecord, step: str, cause: str | None, trace_id: str, *, part: str = ""
) -> Outgoing:
    transition: Transition = record.transition
    kind = f"request.{transition}.v1"
    return seal(
        AUDIT,
        record.request_id,
        encode(record),
        kind=kind,
        step=step,
        event_id=f"{record.request_id}:{kind}:{part or '1'}",
        request_id=record.request_id,
        trace_id=trace_id,
        cause_id=cause,
    )
