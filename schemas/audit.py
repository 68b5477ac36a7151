"""The event-sourced history of a request: one record per transition."""

from typing import Literal

import msgspec

from schemas.commands import Cancel, Retry
from schemas.job import Job
from schemas.moment import Moment

Transition = Literal[
    "accepted", "extracted", "selected", "failed", "retrying", "parked", "ordered", "finished"
]


NO_OUTCOME = msgspec.Raw(b"null")
"""Not a union with None: msgspec decodes only a bare `Raw` as it stands."""


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a request at a step.

    ``outcome`` (a `Result`, kept as its JSON) comes with ``finished``: it is what the step
    proposes to the ledger as the outcome of the request. ``job`` comes with the first record of a
    request, ``command`` with ``ordered``: what a user wants of it.
    """

    request_id: str
    step: str
    transition: Transition
    at: Moment
    detail: dict[str, str] = {}
    outcome: msgspec.Raw = NO_OUTCOME
    job: Job | None = None
    command: Cancel | Retry | None = None
