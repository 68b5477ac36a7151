"""Settings of what is remembered."""

from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from streams.settings.kinds import Bytes, Group, Seconds, Wait, check_url

REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

BackendName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


class CacheSettings(Group):
    """How long answers are remembered, where, and in how much memory."""

    video_info_seconds: Seconds = Field(1_800, description="Life of what a page said.")
    listing_seconds: Seconds = Field(300, description="Life of what a profile listed.")
    stale_seconds: Seconds = Field(
        86_400, description="How much longer an answer may serve while the platform is away."
    )
    metadata_seconds: Seconds = Field(1_800, description="Life of what was read in a page.")
    format_choice_seconds: Seconds = Field(3_600, description="Life of a choice of files.")
    upload_date_seconds: Seconds = Field(86_400, description="Life of a post's date.")
    negative_seconds: Wait = Field(
        600, description="How long a video that is gone or private is not asked for; 0: never."
    )
    file_seconds: Seconds = Field(604_800, description="How long a finished file is known.")
    table_bytes: Bytes = Field(
        320 * 2**20, description="Memory of what pages said, per process: some 100,000 videos."
    )
    memory_bytes: Bytes = Field(
        64 * 2**20, description="Memory of all other caches of a stage, in the process."
    )
    backend: BackendName = Field(
        "memory", description='Shared cache: "memory" for none, "redis", or an installed plug-in.'
    )
    redis_url: SecretStr | None = Field(
        None, description="Where the shared cache is: a redis://, rediss:// or unix:// URL."
    )
    backend_timeout_seconds: Seconds = Field(
        0.2, description="How long the shared cache may take; then it is gone on without."
    )
    backend_rest_seconds: Seconds = Field(
        5, description="How long a shared cache that failed is left alone."
    )

    @field_validator("redis_url")
    @classmethod
    def _is_a_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        url = self.redis_url.get_secret_value() if self.redis_url else ""
        if self.backend == "redis" and not url.startswith(REDIS_SCHEMES):
            raise ValueError(f"backend redis needs redis_url, {', '.join(REDIS_SCHEMES)}…")
        return self


class LedgerSettings(Group):
    """The outcomes of requests."""

    remember_seconds: Seconds = Field(
        86_400, description="How long a decided request is known, to be retried or not repeated."
    )
