"""Settings of what is done about failures."""

from typing import Annotated

from pydantic import Field

from schemas.errors import ErrorCode
from streams.settings.kinds import Count, Group, Seconds, Share, Wait


class BreakerSettings(Group):
    """Circuit breakers: one for each platform, operation and egress."""

    window_calls: Count = Field(100, description="Latest attempts that are looked at.")
    window_seconds: Seconds = Field(60, description="Older attempts are not looked at.")
    minimum_calls: Count = Field(20, description="Fewer attempts open nothing.")
    failure_ratio: Share = Field(0.5, description="Share of failed attempts that opens.")
    slow_ratio: Share = Field(0.9, description="Share of slow attempts that opens.")
    slow_seconds: Seconds = Field(20, description="A page or link that takes longer is slow.")
    suspicious_videos: Count = Field(
        3, description="Different videos with blocks or unknown pages that open it earlier."
    )
    open_seconds: Seconds = Field(30, description="Time before the first trial; doubles.")
    open_seconds_max: Seconds = Field(600, description="Longest time between trials.")
    trials: Count = Field(5, description="Attempts while half-open, over all workers.")
    trial_seconds: Seconds = Field(60, description="A trial not heard of for this long is void.")
    retry_share: Share = Field(0.2, description="Largest share of retries among attempts.")
    retry_floor: Count = Field(10, description="Retries in the window that are always allowed.")


class DeadLetterSettings(Group):
    """What nobody could handle."""

    limit: Count = Field(100, description="Dead letters of a stage that stop its intake.")
    window_seconds: Seconds = Field(60, description="Within this time.")
    replays: Count = Field(1, description="How often one may be put back without force.")


class RetrySettings(Group):
    """Trying again."""

    waits_seconds: dict[ErrorCode, tuple[Wait, ...]] = Field(
        {}, description='Waits before each retry by error code, {"network.server": [5, 30]}.'
    )
    total_seconds: Seconds = Field(86_400, description="No retry later than this after the start.")
    jitter: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.2, description="Waits vary by up to this share, so that retries do not march in step."
    )
