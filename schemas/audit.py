"""The event-sourced history of a request: one record per transition."""

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
"""The last two are about a batch: a member has its outcome; its members are waited for no more."""


NO_OUTCOME = msgspec.Raw(b"null")
"""Not a union with None: msgspec decodes only a bare `Raw` as it stands."""


class MemberOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one member, as the count of its batch needs it.

    ``size`` is 0, and all below it of no use, when little was known of the member.
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
    """What happened to a request at a step.

    ``outcome`` (a `Result`, kept as its JSON) comes with ``finished``: it is what the step
    proposes to the ledger as the outcome of the request. ``job`` comes with the first record of a
    request, ``command`` with ``ordered``: what a user wants of it. ``repeated`` says that another
    record (``detail.by``) asked for a request under this id, with the same content or another one
    (``detail.content``); it gets no outcome. ``member`` comes with ``member_decided``, under the
    batch's id; ``reply`` with ``finished``, when the results are not for the results topic alone.
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
