"""Settings of the built-in performance monitor."""

from pydantic import Field

from streams.settings.kinds import Count, Group, Seconds


class PerformanceSettings(Group):
    """What is told of the time that requests over the network take."""

    window_seconds: Seconds = Field(300, description="Age up to which attempts count as latest.")
    log_seconds: Seconds = Field(
        60, description="Time between two log lines about the latest attempts, while there are any."
    )
    slowest: Count = Field(3, description="Slowest attempts that such a line names.")
