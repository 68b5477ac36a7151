"""Settings of the caches and of the ledger's memory of requests."""

from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from streams.settings.kinds import Bytes, Group, Seconds, Wait, check_url

REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

BackendName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


class CacheSettings(Group):
    """TTLs, backend and memory bounds of the caches."""

    video_info_seconds: Seconds = Field(1_800, description="TTL of extracted pages.")
    listing_seconds: Seconds = Field(300, description="TTL of the posts that a profile lists.")
    stale_seconds: Seconds = Field(
        86_400,
        description="Time after its TTL in which an entry is served stale, if the platform fails.",
    )
    metadata_seconds: Seconds = Field(1_800, description="TTL of the metadata read from a page.")
    format_choice_seconds: Seconds = Field(3_600, description="TTL of a format selection.")
    upload_date_seconds: Seconds = Field(86_400, description="TTL of a post's upload date.")
    negative_seconds: Wait = Field(
        600,
        description="TTL of the negative result that a video is gone or private; 0: not cached.",
    )
    file_seconds: Seconds = Field(604_800, description="TTL of a stored file in the file index.")
    table_bytes: Bytes = Field(
        4 * 2**30, description="Extracted pages per process, on disk: some 1,500,000 videos."
    )
    memory_bytes: Bytes = Field(
        64 * 2**20, description="Memory of all other caches of a stage per process."
    )
    backend: BackendName = Field(
        "memory", description='Shared cache: "memory" for none, "redis", or an installed plug-in.'
    )
    redis_url: SecretStr | None = Field(
        None, description="URL of the shared cache: redis://, rediss:// or unix://."
    )
    backend_timeout_seconds: Seconds = Field(
        0.2, description="Timeout of the shared cache; after it work proceeds without."
    )
    backend_rest_seconds: Seconds = Field(
        5, description="Time for which a shared cache that failed is not used."
    )

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _require_redis_url(self) -> Self:
        url = self.redis_url.get_secret_value() if self.redis_url else ""
        if self.backend == "redis" and not url.startswith(REDIS_SCHEMES):
            raise ValueError(f"backend redis needs redis_url, {', '.join(REDIS_SCHEMES)}…")
        return self


class LedgerSettings(Group):
    """The ledger, which decides the one outcome of each request."""

    remember_seconds: Seconds = Field(
        86_400,
        description="Retention of decided requests, for user retries and duplicate detection.",
    )
