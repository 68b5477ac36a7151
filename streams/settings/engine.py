"""Settings of the yt-dlp worker processes."""

import os

from pydantic import Field

from streams.settings.kinds import Bytes, Count, Group, Seconds


class EngineSettings(Group):
    """The yt-dlp worker processes."""

    processes: Count = Field(
        default_factory=lambda: min(os.cpu_count() or 2, 4),
        description="Worker processes of one clipmill process; default: cores, at most 4.",
    )
    threads: Count = Field(8, description="Extractions at a time in each process.")
    request_timeout_seconds: Seconds = Field(15, description="Time for one page.")
    deadline_seconds: Seconds = Field(40, description="Time for one extraction, then it is killed.")
    page_bytes: Bytes = Field(8 * 2**20, description="Largest page that is read.")
