"""What the error monitor reads: every attempt at the network, asks for trials, and orders."""

from typing import Literal

import msgspec

from schemas.codec import Moment
from schemas.errors import ErrorCode

Operation = Literal["resolve", "extract", "download"]
"""What is done over the network: follow a short link, read a page, fetch a file."""


class Way(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What attempts are counted by, and what a circuit breaker opens and closes.

    Attributes:
        platform: name of the platform.
        operation: what is done there.
        egress: name of the way out of the house, ``direct`` without a proxy.
    """

    platform: str
    operation: Operation
    egress: str

    @property
    def name(self) -> str:
        """Key on the attempts topic and name of the breaker: ``tiktok:extract:direct``."""
        return breaker_name(self.platform, self.operation, self.egress)


class NetworkAttempt(Way, frozen=True, kw_only=True, tag="attempt"):
    """One attempt and what came of it.

    Attributes:
        request_id: for whom.
        subject: the video's key, or the short link: different subjects failing alike are a sign.
        code: why it failed, None when it did not.
        seconds: how long it took.
        at: when it ended.
        retry: it was not the first attempt for this request at this step.
        trial: id of the trial that it was made as, None outside of half-open breakers.
        retry_after_seconds: how long the platform asked to wait, if it did.
        cuts: `RateState.cuts` of the rate that it was made at.
    """

    request_id: str
    subject: str
    code: ErrorCode | None
    seconds: float
    at: Moment
    retry: bool = False
    trial: str | None = None
    retry_after_seconds: float | None = None
    cuts: int = 0


class TrialRequest(Way, frozen=True, kw_only=True, tag="trial"):
    """A worker asks to be one of the trials of a breaker that is, or could be, half-open.

    ``trial`` is the same for every copy of one event, so that asking twice is asking once.
    ``withdrawn`` takes it back: who asked does not wait any more, and its slot is free.
    """

    trial: str
    at: Moment
    withdrawn: bool = False


class BreakerOrder(Way, frozen=True, kw_only=True, tag="order"):
    """An operator opens a breaker by force, or resets it. ``by`` says who."""

    action: Literal["open", "reset"]
    by: str
    at: Moment


AttemptRecord = NetworkAttempt | TrialRequest | BreakerOrder


def breaker_name(platform: str, operation: str, egress: str) -> str:
    """Return the name of a breaker."""
    return f"{platform}:{operation}:{egress}"
