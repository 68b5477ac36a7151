"""Settings of what is remembered."""

from pydantic import Field

from streams.settings.kinds import Group, Seconds


class CacheSettings(Group):
    """How long answers are remembered."""

    video_info_seconds: Seconds = Field(1_800, description="Life of what a page said.")
    stale_seconds: Seconds = Field(
        86_400, description="How much longer an answer may serve while the platform is away."
    )
    file_seconds: Seconds = Field(604_800, description="How long a finished file is known.")


class LedgerSettings(Group):
    """The outcomes of requests."""

    remember_seconds: Seconds = Field(
        86_400, description="How long a decided request is known, to be retried or not repeated."
    )
