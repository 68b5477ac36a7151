"""Settings of circuit breakers, rate limiters, bulkheads, retries and dead letters."""

from typing import Annotated

from pydantic import Field

from schemas.errors import ErrorCode
from streams.settings.kinds import Count, Group, PositiveRate, Seconds, Share, Wait
from streams.settings.platforms import PlatformName


class BreakerSettings(Group):
    """Circuit breakers, one per platform, operation and egress, and their retry budget."""

    window_calls: Count = Field(100, description="Size of the sliding window, in attempts.")
    window_seconds: Seconds = Field(60, description="Length of the sliding window.")
    minimum_calls: Count = Field(
        20, description="Minimum attempts in the window before it can open."
    )
    failure_ratio: Share = Field(0.5, description="Share of failed attempts that opens it.")
    slow_ratio: Share = Field(0.9, description="Share of slow attempts that opens it.")
    slow_seconds: Seconds = Field(20, description="A page or link that takes longer is slow.")
    suspicious_videos: Count = Field(
        3, description="Different videos with blocks or unknown pages that open it earlier."
    )
    open_seconds: Seconds = Field(
        30, description="Time before the first trial call; doubles with each reopening."
    )
    open_seconds_max: Seconds = Field(600, description="Upper bound of open_seconds as it doubles.")
    trials: Count = Field(5, description="Trial calls while half-open, over all workers.")
    trial_seconds: Seconds = Field(
        60, description="Lease of a trial call; one without a result by then is void."
    )
    retry_share: Share = Field(
        0.2, description="Retry budget: largest share of retries among attempts."
    )
    retry_floor: Count = Field(10, description="Retries in the window that are always allowed.")


class DeadLetterSettings(Group):
    """Dead letters: their rate limit per stage, and their replays."""

    limit: Count = Field(
        100, description="Dead letters of a stage within window_seconds that pause its intake."
    )
    window_seconds: Seconds = Field(60, description="Window in which dead letters are counted.")
    replays: Count = Field(1, description="Replays of one dead letter without --force.")


class LimitSettings(Group):
    """Concurrency limits per process, and rate limits per egress, of requests to platforms."""

    resolve_tasks: Count = Field(5, description="Concurrent short link lookups in one process.")
    extract_tasks: Count = Field(5, description="Concurrent page reads in one process.")
    list_tasks: Count = Field(
        2, description="Concurrent listing reads in one process, limited apart from page reads."
    )
    download_tasks: Count = Field(5, description="Concurrent file downloads in one process.")
    requests_per_second: dict[PlatformName, PositiveRate] = Field(
        {}, description='Page requests per second by platform, for each egress, {"tiktok": 10}.'
    )
    default_requests_per_second: PositiveRate = Field(
        10, description="Page requests per second of any other platform, for each egress."
    )
    floor_requests_per_second: PositiveRate = Field(
        0.5, description="Lower bound to which failures reduce the rate of a platform."
    )
    burst_seconds: Wait = Field(
        0.2, description="Burst after a pause: the requests of this many seconds at once."
    )
    recovery_seconds: Seconds = Field(
        120, description="Time in which success restores a rate from zero to its limit."
    )
    pause_seconds_max: Seconds = Field(
        300, description="Longest pause of all requests that a platform's Retry-After can cause."
    )
    patience_seconds: Seconds = Field(
        20, description="An event that must wait longer for the rate limiter is parked."
    )

    def limit_of(self, platform: str) -> float:
        """Return the requests per second to a platform for each egress."""
        return self.requests_per_second.get(platform, self.default_requests_per_second)


class RetrySettings(Group):
    """Retries and their backoff."""

    waits_seconds: dict[ErrorCode, tuple[Wait, ...]] = Field(
        {}, description='Backoff before each retry by error code, {"network.server": [5, 30]}.'
    )
    total_seconds: Seconds = Field(
        86_400, description="Maximum time from the start to the last retry."
    )
    jitter: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.2,
        description="Jitter: random variation of the backoff, as a share, to spread retries.",
    )
