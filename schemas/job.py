"""The job: identity, options and history of one URL, part of the event of every step."""

import re
from typing import Literal

import msgspec

from schemas.codec import Moment
from schemas.errors import ErrorCode
from schemas.request import Action, Options, Reply

_REPLAY = re.compile(r"/replay-[0-9]{1,4}$")
"""Suffix of the id of a request that was replayed from the dead letters."""


class BatchMember(msgspec.Struct, frozen=True, kw_only=True):
    """Position of a job in its batch. ``index`` counts from 0."""

    id: str
    index: int
    size: int


Strategy = Literal[
    "backoff",
    "wait",
    "lower_quality",
    "other_format",
    "fresh_extraction",
    "other_egress",
    "authenticate",
    "other_account",
    "give_up",
]
"""Recovery action after a failure; ``wait`` is a retry that uses up no attempt."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One failed attempt and the recovery action.

    Attributes:
        step: the stage that failed.
        code: error code.
        at: time of the failure.
        counted: it used up a retry.
        egress: the egress used, if the network was involved.
        strategy: the recovery action.
        changed: changes for the next attempt, such as ``{"quality": "best -> 720p"}``.
        wait_seconds: backoff before the next attempt.
        format_id: the format that failed, if one was involved.
    """

    step: str
    code: ErrorCode
    at: Moment
    counted: bool = True
    egress: str | None = None
    strategy: Strategy = "backoff"
    changed: dict[str, str] = {}
    wait_seconds: float = 0.0
    format_id: str | None = None


class Parking(msgspec.Struct, frozen=True, kw_only=True):
    """Retries that used up no attempt, as an outage outside of the request caused them.

    Attributes:
        times: number of these retries.
        since: start of the first wait.
        code: error code of the latest.
    """

    times: int
    since: Moment
    code: ErrorCode


class PageUse(msgspec.Struct, frozen=True, kw_only=True):
    """The job's use of the post's page so far.

    Attributes:
        read_at: when the engine read the page used last; None before the first.
        reads: page reads for this job, without cache hits.
        outdated: the links of that page were refused: only a page read later may be used.
    """

    read_at: Moment | None = None
    reads: int = 0
    outdated: bool = False


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One URL of one request.

    Attributes:
        request_id: the request's id, or ``<batch id>/<index>`` in a batch.
        url: as the client gave it.
        received_at: timestamp of the request's record.
        trace_id: W3C trace id, 32 hex digits.
        attempts: the failures so far, oldest first.
        timings: seconds spent per step so far.
        parked: retries that used up no attempt.
        avoid_egress: egresses excluded from further attempts.
        avoid_formats: formats excluded from selection, as their download failed.
        silent_formats: formats without the sound that the page declares.
        page: use of the post's page so far.
        authenticate: log in, if there is an account for the platform.
        avoid_accounts: accounts excluded from further attempts.
        replays: number of replays from the dead letters.
        reply: destination of the results; None: the results topic.
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
    parked: Parking | None = None
    avoid_egress: tuple[str, ...] = ()
    avoid_formats: tuple[str, ...] = ()
    silent_formats: tuple[str, ...] = ()
    page: PageUse = PageUse()
    authenticate: bool = False
    avoid_accounts: tuple[str, ...] = ()
    replays: int = 0
    reply: Reply | None = None

    @property
    def try_number(self) -> int:
        """Number of the current try, from 1, parking included; equal in every copy of an event."""
        return 1 + len(self.attempts) + (self.parked.times if self.parked else 0)

    def attempt_number(self, step: str) -> int:
        """Return the number of the current attempt at this step, from 1."""
        return 1 + sum(attempt.step == step for attempt in self.attempts)

    def with_timing(self, step: str, seconds: float) -> "Job":
        total = self.timings.get(step, 0.0) + seconds
        return msgspec.structs.replace(self, timings={**self.timings, step: round(total, 6)})

    def with_attempt(self, attempt: Attempt) -> "Job":
        return msgspec.structs.replace(self, attempts=(*self.attempts, attempt))

    def as_replay(self, number: int, at: Moment) -> "Job":
        """Return the job of a replay from the dead letters: a new request, received ``at``.

        It has no deadline, as that has passed, and its full number of attempts.
        """
        original = _REPLAY.sub("", self.request_id)
        return Job(
            request_id=f"{original}/replay-{number}",
            url=self.url,
            action=self.action,
            options=self.options,
            received_at=at,
            trace_id=self.trace_id,
            priority=self.priority,
            attributes=self.attributes,
            retry_of=original,
            batch=self.batch,
            replays=number,
            reply=self.reply,
        )

    def with_parking(self, code: ErrorCode, at: Moment) -> "Job":
        """Return the job with one more retry that uses up no attempt."""
        before = self.parked or Parking(times=0, since=at, code=code)
        parked = Parking(times=before.times + 1, since=before.since, code=code)
        return msgspec.structs.replace(self, parked=parked)
