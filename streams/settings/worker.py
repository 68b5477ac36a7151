"""Settings of a worker: stages, engine processes, heartbeats, memory, performance monitor."""

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from streams.settings.kinds import Bytes, Count, Group, Seconds, Share, Wait


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
    local_delivery: bool = Field(
        True,
        description="Deliver an acknowledged record to the stage of the same worker that reads it,"
        " if it is the next one of its partition. Otherwise each is fetched from its topic.",
    )
    shutdown_grace_seconds: Seconds = Field(
        5, description="Time to finish events in flight on SIGTERM."
    )
    stall_seconds: Seconds = Field(
        120, description="A stage without progress for this long, despite lag, is restarted."
    )


class EngineSettings(Group):
    """The yt-dlp worker processes."""

    processes: Count = Field(
        default_factory=lambda: min(len(os.sched_getaffinity(0)), 4),
        description="Worker processes of one clipmill process; default: cores, at most 4.",
    )
    threads: Count = Field(32, description="Concurrent extractions in each process.")
    """Per process at a network latency of 400 ms: 32 threads reach 57 extractions/s and take up to
    47 MB; 16 reach 32/s (30 MB), 64 reach 97/s (82 MB). Idle threads cost nothing. Measured:
    docs/engine.md."""
    packages_dir: Path | None = Field(
        None,
        description="Folder with another yt-dlp and curl_cffi (`pip install --target DIR yt-dlp`), "
        "used instead of the installed ones.",
    )
    javascript: bool = Field(
        True,
        description="Run the JavaScript of YouTube's player, if Deno and yt-dlp-ejs are installed "
        "(`clipmill[youtube]`); see docs/youtube.md.",
    )
    request_timeout_seconds: Seconds = Field(15, description="Timeout of one page request.")
    deadline_seconds: Seconds = Field(
        40, description="Timeout of one extraction, after which the worker process is killed."
    )
    page_bytes: Bytes = Field(8 * 2**20, description="Maximum size of a page.")
    canaries: tuple[str, ...] = Field(
        (), description="URLs that `clipmill engine check` extracts if none are given."
    )


class HeartbeatSettings(Group):
    """Heartbeat records, by which a stalled stage is detected."""

    interval_seconds: Wait = Field(
        4, description="Interval between the heartbeats of a stage; 0 sends none."
    )
    # Longer than kafka.session_timeout_seconds (10 s), after which the partitions are reassigned.
    limit_seconds: Seconds = Field(
        15, description="Health reports a stage without a committed heartbeat for this long."
    )


class MemorySettings(Group):
    """Memory of a process together with its child processes."""

    limit_bytes: Bytes | None = Field(
        None,
        description="Memory that may be used; default: the container's limit, else machine_share.",
    )
    machine_share: Share = Field(
        0.8, description="Share of the machine's memory that is the limit without any other limit."
    )
    relief_share: Share = Field(
        0.75, description="Share of the limit from which cached data is released."
    )
    pause_share: Share = Field(
        0.9, description="Share of the limit from which all stages pause consumption."
    )
    resume_share: Share = Field(
        0.8, description="Share of the limit below which paused stages resume consumption."
    )
    sample_seconds: Seconds = Field(5, description="Interval between memory samples.")
    relief_seconds: Seconds = Field(
        60, description="Minimum time between two cache releases, as even a useless one costs time."
    )
    give_up_seconds: Seconds = Field(
        600, description="A process that is paused for this long exits, to be restarted."
    )
    warm_up_seconds: Seconds = Field(
        1_800, description="Time after the start in which memory may grow, as caches fill."
    )
    trend_seconds: Seconds = Field(
        3_600, description="Time over which memory must grow to count as a leak."
    )
    leak_bytes_per_hour: Bytes = Field(
        20 * 2**20, description="Lasting growth from which a leak is reported."
    )

    @model_validator(mode="after")
    def _shares_in_order(self) -> Self:
        if not max(self.relief_share, self.resume_share) < self.pause_share:
            raise ValueError("relief_share and resume_share must be below pause_share")
        return self


class PerformanceSettings(Group):
    """Durations of network attempts, as metrics and as log lines."""

    window_seconds: Seconds = Field(300, description="Window of the latest attempts.")
    log_seconds: Seconds = Field(
        60, description="Interval between log lines about the latest attempts, if there are any."
    )
    slowest: Count = Field(3, description="Slowest attempts that such a line names.")
