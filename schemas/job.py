"""What travels with one video through every step: whose it is, and what happened to it so far."""

import re
from typing import Literal

import msgspec

from schemas.codec import Moment
from schemas.errors import ErrorCode
from schemas.request import Action, Options, Reply

_REPLAY = re.compile(r"/replay-[0-9]{1,4}$")
"""Behind the id of a request that was put back from the dead letters."""


class BatchMember(msgspec.Struct, frozen=True, kw_only=True):
    """Place of a job in the batch that it came with. ``index`` counts from 0."""

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
"""What was done about a failure; ``wait`` is a retry that uses up no attempt."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One failed attempt and what was done about it.

    Attributes:
        step: the stage that failed.
        code: why.
        at: when.
        counted: it used up a retry.
        egress: the way out that was used, when it was about the network.
        strategy: what was done about it.
        changed: what is otherwise in the next attempt, such as ``{"quality": "best -> 720p"}``.
        wait_seconds: how long the next attempt was put off.
        format_id: the format that failed, when it was about one.
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
    """Waits that used up no attempt, because of an outage that is not the request's fault.

    Attributes:
        times: how often it was put off.
        since: when that began.
        code: the latest reason.
    """

    times: int
    since: Moment
    code: ErrorCode


class PageUse(msgspec.Struct, frozen=True, kw_only=True):
    """The page of the post as a job has used it so far.

    Attributes:
        read_at: when the engine read the page that was used last; None before the first.
        reads: pages that were read for this job; not those that a cache knew.
        outdated: the links of that page were refused: only a page that was read later is used.
    """

    read_at: Moment | None = None
    reads: int = 0
    outdated: bool = False


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One URL of one request.

    Attributes:
        request_id: the request's id, or ``<batch id>/<index>`` in a batch.
        url: as the client gave it.
        received_at: when the request's record was written.
        trace_id: W3C trace id, 32 hex digits.
        attempts: the failures so far, oldest first.
        timings: seconds spent per step so far.
        parked: waits that used up no attempt.
        avoid_egress: ways out that are not to be taken again.
        avoid_formats: formats that are not to be chosen again, as their download failed.
        silent_formats: formats without the sound that the page promises.
        page: the page of the post as it was used so far.
        authenticate: log in, if there is an account for the platform.
        avoid_accounts: accounts that are not to be used again.
        replays: how often this was put back from the dead letters.
        reply: where the results go; None: to the results topic.
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
    def tries(self) -> int:
        """Number of the present try, from 1; the same for every copy of one event."""
        return 1 + len(self.attempts) + (self.parked.times if self.parked else 0)

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

    def replayed(self, number: int, at: Moment) -> "Job":
        """Return the job of a replay from the dead letters: a request of its own, made ``at``.

        It has no deadline, as that has passed, and all its attempts.
        """
        first = _REPLAY.sub("", self.request_id)
        return Job(
            request_id=f"{first}/replay-{number}",
            url=self.url,
            action=self.action,
            options=self.options,
            received_at=at,
            trace_id=self.trace_id,
            priority=self.priority,
            attributes=self.attributes,
            retry_of=first,
            batch=self.batch,
            replays=number,
            reply=self.reply,
        )

    def put_off(self, code: ErrorCode, at: Moment) -> "Job":
        """Return the job with one more wait that uses up no attempt."""
        before = self.parked or Parking(times=0, since=at, code=code)
        parked = Parking(times=before.times + 1, since=before.since, code=code)
        return msgspec.structs.replace(self, parked=parked)
