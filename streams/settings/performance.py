"""Settings of the built-in performance monitor."""

from pydantic import Field

from streams.settings.kinds import Count, Group, Seconds


class PerformanceSettings(Group):
    """Durations of network attempts, as metrics and as log lines."""

    window_seconds: Seconds = Field(300, description="Window of the latest attempts.")
    log_seconds: Seconds = Field(
        60, description="Interval between log lines about the latest attempts, if there are any."
    )
    slowest: Count = Field(3, description="Slowest attempts that such a line names.")
