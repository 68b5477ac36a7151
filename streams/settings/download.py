"""Settings of fetching media."""

from pydantic import Field

from streams.settings.kinds import Bytes, Group, Rate, Seconds


class DownloadSettings(Group):
    """Fetching media."""

    connect_timeout_seconds: Seconds = Field(10, description="Time to connect.")
    stall_timeout_seconds: Seconds = Field(20, description="Longest silence in the middle.")
    deadline_seconds: Seconds = Field(3_600, description="Time for one file.")
    file_bytes: Bytes = Field(
        2_000_000_000, description="Most bytes of all files of one post together."
    )
    bytes_per_second: Rate | None = Field(
        None, description="Of all downloads of a process together; none: as fast as it goes."
    )
    probe: bool = Field(
        True, description="Look into every finished file whether it is what the page promised."
    )
    free_bytes: Bytes = Field(
        100 * 2**20, description="With less space than this no download is begun."
    )
    storage_check_seconds: Seconds = Field(
        5, description="Pause between looks at a storage that is full or away."
    )
