"""Test doubles of engine, fetcher and account that record how they were used."""

from pathlib import Path
from typing import Any

import msgspec

from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.network.download import Fetched
from agents.network.transfer import FetchLimits, OnBytes
from schemas.video import Cookie, EngineVersions, MediaSource

VERSIONS = EngineVersions(yt_dlp="1", curl_cffi="2")


class FakeEngine:
    """Returns this dictionary for every job, or raises this failure."""

    def __init__(
        self,
        raw: object = None,
        failure: EngineFailure | None = None,
        cookies: tuple[Cookie, ...] = (),
    ) -> None:
        self.raw = raw
        self.failure = failure
        self.cookies = cookies
        self.jobs: list[EngineJob] = []

    async def extract(self, job: EngineJob) -> EngineResult:
        self.jobs.append(job)
        if self.failure:
            raise EngineError(self.failure)
        raw = msgspec.Raw(msgspec.json.encode(self.raw))
        return EngineResult(raw=raw, cookies=self.cookies, versions=VERSIONS)


class FakeFetcher:
    """Reports a download of ten bytes."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}

    async def fetch(
        self,
        source: MediaSource,
        target: Path,
        *,
        hosts: tuple[str, ...],
        limits: FetchLimits,
        on_bytes: OnBytes,
    ) -> Fetched:
        self.arguments = {"source": source, "target": target, "hosts": hosts, "limits": limits}
        on_bytes(5, 10)
        return Fetched(bytes=10, sha256="0" * 64, mime_type="video/mp4")


class FakeAccount:
    """An account with these cookies; records renewed ones."""

    name = "somebody"

    def __init__(self, *cookies: Cookie) -> None:
        self.cookies = cookies
        self.renewed: tuple[Cookie, ...] = ()

    def renew(self, cookies: tuple[Cookie, ...]) -> None:
        self.renewed = cookies
