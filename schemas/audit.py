"""The event-sourced history of a request: one record per transition."""

from datetime import datetime
from typing import Literal

import msgspec

from schemas.results import Result

Transition = Literal["accepted", "extracted", "selected", "failed", "retrying", "finished"]


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a request at a step. ``finished`` proposes the outcome to the ledger."""

    request_id: str
    step: str
    transition: Transition
    at: datetime
    detail: dict[str, str] = {}
    outcome: Result | None = None
