"""The event-sourced audit history of a request: one record per transition."""

from typing import Literal

import msgspec

from schemas.codec import Moment
from schemas.commands import Cancel, Retry
from schemas.job import Job
from schemas.request import Reply
from schemas.results import OutcomeStatus

Transition = Literal[
    "accepted",
    "extracted",
    "selected",
    "failed",
    "retrying",
    "parked",
    "ordered",
    "repeated",
    "finished",
    "member_decided",
    "batch_expired",
]
"""``member_decided`` and ``batch_expired`` concern a batch: a member has its outcome; the ledger no
longer waits for missing members."""


NO_OUTCOME = msgspec.Raw(b"null")
"""JSON null in place of ``Raw | None``: msgspec decodes only a bare `Raw` verbatim."""


class MemberOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one member of a batch, for the ledger's count of the batch.

    ``size`` is 0 if the member's job was not known; then ``received_at`` and all further fields are
    meaningless.
    """

    index: int
    status: OutcomeStatus
    finished_at: Moment
    size: int
    received_at: Moment
    trace_id: str
    attributes: dict[str, str] = {}
    retry_of: str | None = None
    reply: Reply | None = None


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One transition of a request at a step.

    ``outcome`` (a `Result`, carried as its JSON) is set with ``finished``: the outcome that the
    step proposes to the ledger. ``job`` is set in the first record of a request, ``command`` with
    ``ordered``: the user's command. ``repeated`` records that another record (``detail.by``)
    requested the same id, with the same or with different content (``detail.content``); it gets no
    outcome. ``member`` is set with ``member_decided``, under the batch's id; ``reply`` with
    ``finished``, if the results do not go to the results topic alone.
    """

    request_id: str
    step: str
    transition: Transition
    at: Moment
    detail: dict[str, str] = {}
    outcome: msgspec.Raw = NO_OUTCOME
    job: Job | None = None
    command: Cancel | Retry | None = None
    member: MemberOutcome | None = None
    reply: Reply | None = None
