"""Settings of how much a stage does at a time."""

from pydantic import Field

from streams.settings.kinds import Count, Group, Seconds


class StageSettings(Group):
    """How much a stage does at a time."""

    concurrency: Count = Field(32, description="Events at a time in a stage of one process.")
    window: Count = Field(2_000, description="Unfinished events that a stage may hold.")
    backlog_records: Count = Field(
        128, description="Unfinished records in front of a stage that hold back no earlier stage."
    )
    backlog_seconds: Seconds = Field(
        1, description="The same as a time: what the stage finishes within it. The larger counts."
    )
    shutdown_grace_seconds: Seconds = Field(5, description="Time to finish work on SIGTERM.")
    stall_seconds: Seconds = Field(
        120, description="A stage that stands still before unread records is restarted."
    )
