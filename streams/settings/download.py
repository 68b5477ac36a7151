"""Settings of media downloads."""

from pydantic import Field

from streams.settings.kinds import Bytes, Group, Rate, Seconds


class DownloadSettings(Group):
    """Media downloads."""

    connect_timeout_seconds: Seconds = Field(10, description="Connect timeout.")
    stall_timeout_seconds: Seconds = Field(
        20, description="Read timeout: longest time without a received byte."
    )
    deadline_seconds: Seconds = Field(3_600, description="Timeout of one file.")
    file_bytes: Bytes = Field(
        2_000_000_000, description="Maximum bytes of all files of one post together."
    )
    bytes_per_second: Rate | None = Field(
        None, description="Bandwidth of all downloads of a process together; none: unlimited."
    )
    probe: bool = Field(
        True, description="Verify the content of every finished file against the page's metadata."
    )
    free_bytes: Bytes = Field(
        100 * 2**20, description="No download is started with less free space than this."
    )
    storage_check_seconds: Seconds = Field(
        5, description="Interval between checks of a storage that is full or unavailable."
    )
