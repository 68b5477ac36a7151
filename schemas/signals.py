"""Shared state of all workers, on the compacted topic ``signals``: newest value per key counts."""

from typing import Literal

import msgspec

from schemas.attempts import Operation, breaker_name
from schemas.codec import Moment
from schemas.errors import ErrorCode

BREAKER = "breaker/"
CANCEL = "cancel/"
REFRESH = "refresh/"
INTAKE = "intake/"
RATE = "rate/"
"""First parts of the keys; behind them stand breaker, request id, video key, stage, and what a
breaker is for too: platform, operation and egress."""


class BreakerState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether attempts of one platform, operation and egress are made. Key: ``breaker/<name>``.

    Attributes:
        state: ``closed`` lets everything through, ``open`` nothing before ``until``, ``half_open``
            only the trials that are granted, ``forced_open`` nothing until it is reset.
        reason: code of the failures that opened it.
        since: when this state began.
        until: when the first trial may be asked for; None unless open.
        openings: how often it opened without closing in between; the open time grows by it.
        trials: ids of the trials granted in this half-open phase.
        trials_max: how many may be granted in all.
        budget_until: until then retries (not first attempts) wait: they are too large a share.
        by: who forced it.
    """

    platform: str
    operation: Operation
    egress: str
    state: Literal["closed", "open", "half_open", "forced_open"] = "closed"
    reason: ErrorCode | None = None
    since: Moment
    until: Moment | None = None
    openings: int = 0
    trials: tuple[str, ...] = ()
    trials_max: int = 0
    budget_until: Moment | None = None
    by: str | None = None

    @property
    def name(self) -> str:
        """Name of the breaker: ``tiktok:extract:direct``."""
        return breaker_name(self.platform, self.operation, self.egress)


class RateState(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a platform is asked over one egress, all workers together. Key: ``rate/<name>``.

    Attributes:
        requests_per_second: at most so many, if the settings do not say fewer; None: as many as
            they say.
        reason: code of the trouble that it was cut for, None when it is not cut.
        since: when that came up, or went away.
        until: nothing is asked before; None when there is no such moment.
        cuts: number of cuts so far. Attempts report it, so an attempt of before a cut is recognised
            without comparing clocks.
    """

    platform: str
    operation: Operation
    egress: str
    requests_per_second: float | None = None
    reason: ErrorCode | None = None
    since: Moment
    until: Moment | None = None
    cuts: int = 0

    @property
    def name(self) -> str:
        """What it is for: ``tiktok:extract:direct``, like the breaker's."""
        return breaker_name(self.platform, self.operation, self.egress)


class CancelSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A request, or a batch, is not wanted any more. Key: ``cancel/<request id>``."""

    by: str
    at: Moment


class RefreshSignal(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a video from before ``at`` is no use. Key: ``refresh/<video key>``."""

    by: str
    at: Moment


class IntakeSignal(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a stage takes records. Key: ``intake/<stage>``.

    Attributes:
        paused: it takes none.
        reason: why, and what to do; for people.
        by: who decided it: a stage, or an operator.
    """

    paused: bool
    reason: str
    by: str
    at: Moment
