"""Settings of a stage: concurrency, back-pressure and shutdown."""

from pydantic import Field

from streams.settings.kinds import Count, Group, Seconds


class StageSettings(Group):
    """Concurrency, back-pressure and shutdown of a stage."""

    concurrency: Count = Field(32, description="Concurrent events in a stage of one process.")
    window: Count = Field(2_000, description="Events in flight that a stage may hold.")
    backlog_records: Count = Field(
        128, description="Unfinished records of a stage up to which no earlier stage is held back."
    )
    backlog_seconds: Seconds = Field(
        1,
        description="The same as time: the records processed within it. The larger bound applies.",
    )
    chaining: bool = Field(
        True,
        description="Let the next stage of the same worker process an event at once, if it need not"
        " wait. Otherwise each event is written to its topic first.",
    )
    shutdown_grace_seconds: Seconds = Field(
        5, description="Time to finish events in flight on SIGTERM."
    )
    stall_seconds: Seconds = Field(
        120, description="A stage without progress for this long, despite lag, is restarted."
    )
