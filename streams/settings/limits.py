"""Settings of how much is asked of platforms: at a time, and a second."""

from pydantic import Field

from streams.settings.kinds import Count, Group, Rate, Seconds, Wait
from streams.settings.platforms import PlatformName


class LimitSettings(Group):
    """How much is asked of platforms: at a time by a process, and a second by an egress."""

    resolve_tasks: Count = Field(5, description="Short links followed at a time in one process.")
    extract_tasks: Count = Field(5, description="Pages read at a time in one process.")
    list_tasks: Count = Field(
        2, description="Lists of posts read at a time in one process, apart from pages."
    )
    download_tasks: Count = Field(5, description="Files fetched at a time in one process.")
    requests_per_second: dict[PlatformName, Rate] = Field(
        {}, description='Pages a second by platform, for each egress, {"tiktok": 10}.'
    )
    default_requests_per_second: Rate = Field(
        10, description="Pages a second of a platform that is not named, for each egress."
    )
    floor_requests_per_second: Rate = Field(
        0.5, description="A platform in trouble is never asked less often than this."
    )
    burst_seconds: Wait = Field(
        0.2, description="After a pause, the requests of so many seconds may go at once."
    )
    recovery_seconds: Seconds = Field(
        120, description="Time in which success restores a rate from nothing to its limit."
    )
    pause_seconds_max: Seconds = Field(
        300, description="Longest pause for all that a platform can ask for with Retry-After."
    )
    patience_seconds: Seconds = Field(
        20, description="An event that must wait longer for its turn is parked."
    )

    def limit_of(self, platform: str) -> float:
        """Return the requests a second that one egress may make to a platform."""
        return self.requests_per_second.get(platform, self.default_requests_per_second)
