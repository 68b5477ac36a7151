"""Settings of the heartbeats."""

from pydantic import Field

from streams.settings.kinds import Group, Seconds, Wait


class HeartbeatSettings(Group):
    """Heartbeat records, by which a stalled stage is detected."""

    interval_seconds: Wait = Field(
        4, description="Interval between the heartbeats of a stage; 0 sends none."
    )
    # Longer than kafka.session_timeout_seconds (10 s), after which the partitions are reassigned.
    limit_seconds: Seconds = Field(
        15, description="Health reports a stage without a committed heartbeat for this long."
    )
