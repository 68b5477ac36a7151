"""What travels with one video through every step: whose it is, and what happened to it so far."""

import msgspec

from schemas.errors import ErrorCode
from schemas.moment import Moment
from schemas.request import Action, Options


class BatchMember(msgspec.Struct, frozen=True, kw_only=True):
    """Place of a job in the batch that it came with. ``index`` counts from 0."""

    id: str
    index: int
    size: int


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One failed attempt: the step, why it failed, when, and whether it used up a retry."""

    step: str
    code: ErrorCode
    at: Moment
    counted: bool = True


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One URL of one request.

    Attributes:
        request_id: the request's id, or ``<batch id>/<index>`` in a batch.
        url: as the client gave it.
        received_at: when the request's record was written.
        trace_id: W3C trace id, 32 hex digits.
        attempts: the failures so far, oldest first.
        timings: seconds spent per step so far.
    """

    request_id: str
    url: str
    action: Action
    options: Options
    received_at: Moment
    trace_id: str
    deadline: Moment | None = None
    priority: int = 5
    attributes: dict[str, str] = {}
    retry_of: str | None = None
    batch: BatchMember | None = None
    attempts: tuple[Attempt, ...] = ()
    timings: dict[str, float] = {}

    def attempt_number(self, step: str) -> int:
        """Return the number of the attempt now under way at this step, from 1."""
        return 1 + sum(attempt.step == step for attempt in self.attempts)

    def spent(self, step: str, seconds: float) -> "Job":
        """Return the job with the time of this step added."""
        total = self.timings.get(step, 0.0) + seconds
        return msgspec.structs.replace(self, timings={**self.timings, step: round(total, 6)})

    def failed(self, attempt: Attempt) -> "Job":
        """Return the job with one more failed attempt."""
        return msgspec.structs.replace(self, attempts=(*self.attempts, attempt))
