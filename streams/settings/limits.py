"""Settings of the bulkheads and rate limiters in front of the platforms."""

from pydantic import Field

from streams.settings.kinds import Count, Group, Rate, Seconds, Wait
from streams.settings.platforms import PlatformName


class LimitSettings(Group):
    """Concurrency limits per process, and rate limits per egress, of requests to platforms."""

    resolve_tasks: Count = Field(5, description="Concurrent short link lookups in one process.")
    extract_tasks: Count = Field(5, description="Concurrent page reads in one process.")
    list_tasks: Count = Field(
        2, description="Concurrent listing reads in one process, limited apart from page reads."
    )
    download_tasks: Count = Field(5, description="Concurrent file downloads in one process.")
    requests_per_second: dict[PlatformName, Rate] = Field(
        {}, description='Page requests per second by platform, for each egress, {"tiktok": 10}.'
    )
    default_requests_per_second: Rate = Field(
        10, description="Page requests per second of any other platform, for each egress."
    )
    floor_requests_per_second: Rate = Field(
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
