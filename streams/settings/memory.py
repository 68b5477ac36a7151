"""Settings of how much memory may be used, and what happens near that bound."""

from typing import Self

from pydantic import Field, model_validator

from streams.settings.kinds import Bytes, Group, Seconds, Share


class MemorySettings(Group):
    """Memory of a process together with those that it started."""

    limit_bytes: Bytes | None = Field(
        None,
        description="Memory that may be used; default: the container's limit, else machine_share.",
    )
    machine_share: Share = Field(
        0.8, description="Share of the machine's memory that is the limit when nothing else is."
    )
    relief_share: Share = Field(
        0.75, description="Share of the limit from which on caches are let go of."
    )
    pause_share: Share = Field(
        0.9, description="Share of the limit from which on no stage takes records."
    )
    resume_share: Share = Field(
        0.8, description="Share of the limit below which paused stages take records again."
    )
    sample_seconds: Seconds = Field(5, description="Time between two looks at the memory.")
    relief_seconds: Seconds = Field(
        60, description="Least time between two reliefs, as one that frees nothing costs time too."
    )
    give_up_seconds: Seconds = Field(
        600, description="A process that is paused for so long ends, to be started afresh."
    )
    warm_up_seconds: Seconds = Field(
        1_800, description="Time after the start in which memory may grow: caches fill."
    )
    trend_seconds: Seconds = Field(
        3_600, description="Time over which memory must grow to count as a leak."
    )
    leak_bytes_per_hour: Bytes = Field(
        20 * 2**20, description="Lasting growth from which on a leak is reported."
    )

    @model_validator(mode="after")
    def _shares_in_order(self) -> Self:
        if not max(self.relief_share, self.resume_share) < self.pause_share:
            raise ValueError("relief_share and resume_share must be below pause_share")
        return self
