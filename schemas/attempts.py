"""Input of the monitor: network attempts, requests for trial calls, and breaker commands."""

from typing import Literal

import msgspec

from schemas.codec import Moment
from schemas.errors import ErrorCode, endpoint_key

Operation = Literal["resolve", "extract", "download"]
"""Network operation: follow a short link, read a page, download a file."""


class EndpointRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of the records about one endpoint: the unit of circuit breakers and adaptive rates.

    Attributes:
        platform: name of the platform.
        operation: the network operation.
        egress: name of the egress, ``direct`` without a proxy.
    """

    platform: str
    operation: Operation
    egress: str

    @property
    def name(self) -> str:
        """Key on the topic ``attempts`` and name of the breaker: ``tiktok:extract:direct``."""
        return endpoint_key(self.platform, self.operation, self.egress)


class NetworkAttempt(EndpointRecord, frozen=True, kw_only=True, tag="attempt"):
    """One network attempt and its result.

    Attributes:
        request_id: id of the request.
        subject: the video's key, or the short link; the same failure of different subjects
            indicates a cause on the platform's side.
        code: error code, None on success.
        seconds: duration.
        at: time of its end.
        retry: it was not the first attempt of this request at this step.
        trial: id of the trial call, None outside of half-open breakers.
        retry_after_seconds: wait that the platform requested with Retry-After, if any.
        cuts: `RateState.cuts` of the rate at which it was made.
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


class TrialRequest(EndpointRecord, frozen=True, kw_only=True, tag="trial"):
    """A worker requests a trial call of a breaker that is, or could be, half-open.

    ``trial`` is the same for every copy of one event, so the request is idempotent. ``withdrawn``
    releases the slot: the worker no longer waits for the trial call.
    """

    trial: str
    at: Moment
    withdrawn: bool = False


class BreakerCommand(EndpointRecord, frozen=True, kw_only=True, tag="order"):
    """An operator forces a breaker open, or resets it. ``by`` names the operator."""

    action: Literal["open", "reset"]
    by: str
    at: Moment


AttemptRecord = NetworkAttempt | TrialRequest | BreakerCommand
