"""Settings of the retention of stored files."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from streams.settings.kinds import Bytes, Group, Seconds
from streams.settings.platforms import PlatformName

Days = Annotated[float, Field(gt=0, le=36_500)]
AttributeName = Annotated[str, Field(min_length=1, max_length=64)]


class RetentionLimits(Group):
    """Limits of the files of a platform or requester."""

    days: Days | None = Field(None, description="Days for which a file is kept; none: see above.")
    bytes: Bytes | None = Field(None, description="Bytes of all of these files; none: no limit.")


class RetentionSettings(Group):
    """Which stored files are removed, the oldest first; without a limit none is."""

    days: Days | None = Field(
        None, description="Days for which a file is kept; none: no limit. See docs/storage.md."
    )
    bytes: Bytes | None = Field(
        None, description="Bytes of all files; the oldest beyond are removed. None: no limit."
    )
    platforms: dict[PlatformName, RetentionLimits] = Field(
        {}, description="Limits (days, bytes) of the files of a platform, by its name."
    )
    attribute: AttributeName | None = Field(
        None, description="Name of the attribute of requests that the requesters differ in."
    )
    requesters: dict[str, RetentionLimits] = Field(
        {}, description="Limits (days, bytes) of the files of a requester, by its attribute."
    )
    check_seconds: Seconds = Field(3_600, description="Time between two checks.")

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit of any kind."""
        limits = (*self.platforms.values(), *self.requesters.values())
        groups: tuple[RetentionSettings | RetentionLimits, ...] = (self, *limits)
        return any(it.days is not None or it.bytes is not None for it in groups)

    @model_validator(mode="after")
    def _has_an_attribute(self) -> Self:
        if self.requesters and self.attribute is None:
            raise ValueError("requesters needs attribute, which tells them apart")
        return self
