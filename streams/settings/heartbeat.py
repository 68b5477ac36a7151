"""Settings of the heartbeats."""

from pydantic import Field

from streams.settings.kinds import Group, Seconds, Wait


class HeartbeatSettings(Group):
    """How a stage that stands still is noticed."""

    interval_seconds: Wait = Field(
        4, description="Pause between the heartbeats of a stage; 0 sends none."
    )
    # Beyond the 10 s of kafka.session_timeout_seconds, after which another worker takes over.
    limit_seconds: Seconds = Field(
        15, description="Health names a stage that has answered no heartbeat for so long."
    )
