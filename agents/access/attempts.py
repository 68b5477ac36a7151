"""Attempts at the network as records for the error monitor. Ids are the same for every copy."""

from dataclasses import dataclass
from datetime import datetime

from schemas.attempts import (
    AttemptRecord,
    NetworkAttempt,
    Operation,
    TrialRequest,
    breaker_name,
)
from schemas.codec import encode
from schemas.errors import ClipmillError, Place
from schemas.job import Job
from schemas.signals import BREAKER
from streams.envelope import seal
from streams.records import Outgoing
from streams.topics import ATTEMPTS

STEPS: dict[Operation, str] = {
    "resolve": "validation",
    "extract": "extraction",
    "download": "download",
}
"""The step that does each operation."""


@dataclass(frozen=True, slots=True)
class Attempting:
    """An attempt that is, or could be, made: for whom, where, and as which granted trial.

    Attributes:
        job: for whom.
        subject: the video's key, or the short link.
        place: where.
        trial: id of the granted trial; None: it is none.
        part: which one of several of the job: the file's format, "" when it is the only one.
    """

    job: Job
    subject: str
    place: Place
    trial: str | None = None
    part: str = ""

    @property
    def breaker(self) -> str:
        """Name of its breaker, and key of what is told of it."""
        return breaker_name(self.place.platform, self.place.operation, self.place.egress)

    @property
    def signal(self) -> str:
        """Key of the signal that has the state of its breaker."""
        return f"{BREAKER}{self.breaker}"

    @property
    def labels(self) -> tuple[str, str, str]:
        """Platform, operation and egress, as metrics have them."""
        return self.place.platform, self.place.operation, self.place.egress

    @property
    def trial_id(self) -> str:
        """Id of the trial that it may be: the same for every copy of the event."""
        plain = f"{self.job.request_id}:{self.place.operation}:{self.job.tries}"
        return f"{plain}:{self.part}" if self.part else plain


def attempt_record(
    made: Attempting,
    error: ClipmillError | None,
    seconds: float,
    now: datetime,
    *,
    cuts: int = 0,
) -> Outgoing:
    """Return the report of an attempt that ended now, with this error or well.

    ``cuts`` are those of the rate that it was made at.
    """
    place, job = made.place, made.job
    attempt = NetworkAttempt(
        platform=place.platform,
        operation=place.operation,
        egress=place.egress,
        request_id=job.request_id,
        subject=made.subject,
        code=error.code if error else None,
        seconds=round(seconds, 6),
        at=now,
        retry=job.attempt_number(STEPS[place.operation]) > 1,
        trial=made.trial,
        retry_after_seconds=error.retry_after if error else None,
        cuts=cuts,
    )
    return _sealed(attempt, made, "attempt")


def trial_record(wanted: Attempting, now: datetime, *, withdrawn: bool = False) -> Outgoing:
    """Return the question whether this attempt may be one of its breaker's trials, or its end."""
    place = wanted.place
    asked = TrialRequest(
        platform=place.platform,
        operation=place.operation,
        egress=place.egress,
        trial=wanted.trial_id,
        at=now,
        withdrawn=withdrawn,
    )
    return _sealed(asked, wanted, "trial", part=":withdrawn" if withdrawn else "")


def _sealed(message: AttemptRecord, about: Attempting, what: str, *, part: str = "") -> Outgoing:
    return seal(
        ATTEMPTS,
        about.breaker,
        encode(message),
        kind=f"network.{what}.v1",
        step=STEPS[about.place.operation],
        event_id=f"{about.trial_id}:{what}{part}",
        request_id=about.job.request_id,
        trace_id=about.job.trace_id,
    )
