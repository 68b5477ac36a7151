"""The media downloader with short timeouts, and with backoffs that are only recorded."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from agents.network.download import Fetched, MediaDownloader
from agents.network.egress import Egress
from agents.network.session import open_session
from agents.network.transfer import FetchLimits
from schemas.video import Cookie, MediaSource

HOSTS = (".tiktok.com", ".tiktokcdn.com")
TOKEN = Cookie(name="tt_chain_token", value="abc==", domain=".tiktok.com")
QUICK = FetchLimits(connect_seconds=5.0, stall_seconds=0.3, total_seconds=20.0)


class SleepRecorder:
    """Records backoff sleeps without waiting."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def fetch(
    egress: Egress,
    source: MediaSource,
    target: Path,
    *,
    limits: FetchLimits = QUICK,
    hosts: tuple[str, ...] = HOSTS,
    on_bytes: Callable[[int, int | None], None] = lambda _, __: None,
    pauses: SleepRecorder | None = None,
) -> Fetched:
    async with open_session(egress) as session:
        downloader = MediaDownloader(session, sleep=pauses or SleepRecorder())
        return await downloader.fetch(source, target, hosts=hosts, limits=limits, on_bytes=on_bytes)


def limits(**changes: float) -> FetchLimits:
    return msgspec.structs.replace(QUICK, **changes)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
