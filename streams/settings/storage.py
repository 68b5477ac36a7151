"""Settings of downloads, and of the storage and retention of finished files."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from schemas.path_template import parse_template
from streams.settings.kinds import Bytes, Count, Group, PositiveRate, Seconds, check_url
from streams.settings.platforms import PlatformName

PART_BYTES_MIN = 5 * 2**20
"""Smallest part of S3, except for the last one of a file."""

_URL = re.compile(
    r"(?:s3|gs|az)://[a-z0-9][a-z0-9._-]{1,62}(?:/(?!\.)[A-Za-z0-9!_.*'()-]+)*/?", re.ASCII
)
_HTTP = ("http://", "https://")

Days = Annotated[float, Field(gt=0, le=36_500)]
AttributeName = Annotated[str, Field(min_length=1, max_length=64)]


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
    bytes_per_second: PositiveRate | None = Field(
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


class StorageSettings(Group):
    """The storage of finished files: `data_dir`, or an object store."""

    url: str | None = Field(
        None,
        description="Object store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX;"
        " none: the directory data_dir/files. See docs/storage.md.",
    )
    endpoint: str | None = Field(
        None, description="URL of an S3-compatible or other service; none: the cloud's own."
    )
    region: str | None = Field(None, description="Region of an S3 bucket; none: AWS_REGION.")
    ca_file: Path | None = Field(None, description="PEM file of additional root certificates.")
    proxy: str | None = Field(
        None, description="URL of an HTTP proxy to the store; the egress proxy is never used."
    )
    connect_timeout_seconds: Seconds = Field(5, description="Timeout of connecting.")
    request_timeout_seconds: Seconds = Field(
        120, description="Timeout of one request, such as the upload of one part."
    )
    part_bytes: Annotated[int, Field(ge=PART_BYTES_MIN, le=2**30)] = Field(
        8 * 2**20, description="Size of the parts in which a large file is uploaded."
    )
    parallel_parts: Count = Field(2, description="Parts of one file that are uploaded at once.")
    single_put_bytes: Annotated[int, Field(ge=0, le=5_000_000_000)] = Field(
        16 * 2**20,
        description="Size up to which a file is uploaded by one request, which replaces no file of"
        " another worker.",
    )
    uploads: Count = Field(8, description="Files that a process uploads at once.")
    upload_memory_bytes: Bytes = Field(
        64 * 2**20,
        description="Bytes of files and parts that a process uploads at once; one upload may take"
        " more.",
    )

    public_url_prefix: str | None = Field(
        None,
        description="HTTP URL under which the files are published by another server; results have"
        " a public_url then, and the console links to it.",
    )

    retention: RetentionSettings = RetentionSettings()

    path_template: str | None = Field(
        None,
        description="Template of the paths of new posts, such as {author}/{date:%Y-%m-%d}"
        " {title:.80} [{platform} {id}].{format}.{ext}; none: {platform}/{id}/{id}.{format}.{ext}."
        " See docs/storage.md.",
    )

    @field_validator("path_template")
    @classmethod
    def _is_template(cls, text: str | None) -> str | None:
        if not text:
            return None
        parse_template(text)
        return text

    @field_validator("url")
    @classmethod
    def _is_object_store(cls, url: str | None) -> str | None:
        if not url:
            return None
        if not _URL.fullmatch(url):
            raise ValueError(
                "it must be s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX;"
                " credentials come from the cloud's own variables"
            )
        return url.rstrip("/")

    @field_validator("public_url_prefix")
    @classmethod
    def _is_prefix(cls, url: str | None) -> str | None:
        if not url:
            return None
        if not url.startswith(_HTTP) or "?" in url or "#" in url:
            raise ValueError("it must start with http:// or https://, without ? and #")
        check_url(url)
        return url.rstrip("/")

    @field_validator("endpoint", "proxy")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if not url:
            return None
        if not url.startswith(_HTTP):
            raise ValueError("it must start with http:// or https://")
        check_url(url)
        return url

    @model_validator(mode="after")
    def _has_a_store(self) -> Self:
        if self.url is None and (self.endpoint or self.region or self.proxy):
            raise ValueError("endpoint, region and proxy need url")
        return self
