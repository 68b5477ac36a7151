"""Settings of the memory limit: cache release, back-pressure and restart near it."""

from typing import Self

from pydantic import Field, model_validator

from streams.settings.kinds import Bytes, Group, Seconds, Share


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
