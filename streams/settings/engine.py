"""Settings of the yt-dlp worker processes."""

import os
from pathlib import Path

from pydantic import Field

from streams.settings.kinds import Bytes, Count, Group, Seconds


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
