"""Every way in which a TikTok extraction fails, played by the stand-in and the real engine.

``python -m tests.integration.failure_samples`` records `SAMPLES` anew: after an update of yt-dlp
or curl_cffi, or with a new scenario. The difference shows what the update changed. With ``socks``
behind it, only those that begin so are recorded.
"""

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from agents.engine.interface import EngineError, EngineFailure, EngineJob
from agents.engine.pool import EnginePool
from agents.engine.settings import EngineSettings
from agents.network.egress import Egress
from agents.network.trust import write_ca_bundle
from agents.platforms.tiktok.page import EXTRACTOR
from schemas.video import Cookie
from tests.standin import SCENARIOS, Standin, short_code, video_id
from tests.unit.agents.engine.extractors import named

SAMPLES = Path(__file__).parents[1] / "samples" / "tiktok_failures.json"
LIVE_EXTRACTOR = "yt_dlp.extractor.tiktok:TikTokLiveIE"
PROFILE_EXTRACTOR = "agents.platforms.tiktok.list_pages:TikTokUserIE"
COLLECTION_EXTRACTOR = "agents.platforms.tiktok.list_pages:TikTokCollectionIE"
LINK_EXTRACTOR = "yt_dlp.extractor.tiktok:TikTokVMIE"
SETTINGS = EngineSettings(processes=2, kill_grace_seconds=0.3, preload=(EXTRACTOR,))
DEADLINE_SECONDS = 5.0
HANG_SECONDS = 0.5
MEBIBYTE = 1024 * 1024
# Too long for a name, so that no resolver needs to be asked.
NO_NAME = ".".join(["x" * 60] * 5) + ".tiktok.com"
# More than a process can be told at a time.
MANY_COOKIES = tuple(
    Cookie(name=str(number), value="v" * 4_000, domain=".tiktok.com") for number in range(1_100)
)
# 10004 is no status that anybody has seen.
UNKNOWN_STATUS = video_id("status", param=10004)

FAILING_LINKS = ("dead", "loop", "limited", "broken", "hang", "page", "loopback", "outside")
WORKING_PAGES = frozenset({"page.slow", "challenge", "challenge.any", "moved"})
WITHHELD_POSTS = ("shop", "ad")
FAILING_PAGES = tuple(
    row.name for row in SCENARIOS if row.surface == "page" and row.name not in WORKING_PAGES
)
CONNECTIONS = tuple(row.name for row in SCENARIOS if row.surface == "connect")
HANGING = frozenset({"page.hang", "page.drip", "connect.hang", "link.hang"})


class Stage:
    """A stand-in, and an engine that goes through it."""

    def __init__(self, standin: Standin, egress: Egress, pool: EnginePool) -> None:
        self.standin = standin
        self.egress = egress
        self.pool = pool

    async def failure(self, job: EngineJob) -> EngineFailure:
        """Return the job's failure in the engine of the stage."""
        return await failure_of(self.pool, job)

    async def failure_with(self, job: EngineJob, egress: Egress, **settings: Any) -> EngineFailure:
        """Return the job's failure in another engine."""
        async with EnginePool(msgspec.structs.replace(SETTINGS, **settings), egress) as pool:
            return await failure_of(pool, job)


@asynccontextmanager
async def staged(directory: Path) -> AsyncIterator[Stage]:
    async with Standin(directory) as standin:
        bundle = await asyncio.to_thread(write_ca_bundle, standin.ca_file, directory / "bundle.pem")
        egress = Egress(proxy=standin.proxy_url, ca_file=standin.ca_file, ca_bundle=bundle)
        others = [
            msgspec.structs.replace(egress, name=name, proxy=url)
            for name, url in _socks_ways(standin).items()
        ]
        async with EnginePool(SETTINGS, egress, *others) as pool:
            yield Stage(standin, egress, pool)


def page_job(scenario: str = "ok", serial: int = 1, **options: Any) -> EngineJob:
    seconds = HANG_SECONDS if scenario in HANGING else DEADLINE_SECONDS
    url = f"https://www.tiktok.com/@_/video/{video_id(scenario, serial=serial)}"
    return EngineJob(**{"url": url, "extractor": EXTRACTOR, "deadline_seconds": seconds, **options})


def link_job(kind: str) -> EngineJob:
    seconds = HANG_SECONDS if kind == "hang" else DEADLINE_SECONDS
    url = f"https://vm.tiktok.com/{short_code(video_id(), kind)}/"
    return EngineJob(url=url, extractor=LINK_EXTRACTOR, deadline_seconds=seconds)


def profile_job(user: str) -> EngineJob:
    return EngineJob(
        url=f"https://www.tiktok.com/@{user}",
        extractor=PROFILE_EXTRACTOR,
        deadline_seconds=DEADLINE_SECONDS,
        entries_max=20,
    )


def collection_job(collection: str) -> EngineJob:
    return EngineJob(
        url=f"https://www.tiktok.com/@a/collection/cats-{collection}",
        extractor=COLLECTION_EXTRACTOR,
        deadline_seconds=DEADLINE_SECONDS,
        entries_max=20,
    )


def harm_job(kind: str, url: str = "test:1", seconds: float = DEADLINE_SECONDS) -> EngineJob:
    return EngineJob(url=url, extractor=named(kind), deadline_seconds=seconds)


async def failure_of(pool: EnginePool, job: EngineJob) -> EngineFailure:
    try:
        result = await pool.extract(job)
    except EngineError as error:
        return error.failure
    raise AssertionError(f"{job.url} did not fail: {bytes(result.raw)[:100]!r}")


def closed_port() -> int:
    """Return a port on loopback that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


async def _connection(stage: Stage, scenario: str, job: EngineJob | None = None) -> EngineFailure:
    stage.standin.switches.set(scenario)
    seconds = HANG_SECONDS if scenario in HANGING else DEADLINE_SECONDS
    try:
        # In a new engine: an old one has connections open already.
        return await stage.failure_with(job or page_job(deadline_seconds=seconds), stage.egress)
    finally:
        stage.standin.reset()


async def _closed(stage: Stage) -> EngineFailure:
    return await failure_of(EnginePool(SETTINGS, stage.egress), page_job())


async def _address(stage: Stage, browser: str) -> EngineFailure:
    url = f"http://127.0.0.1:{closed_port()}/?browser={browser}"
    return await stage.failure_with(harm_job("Fetch", url), Egress())


async def _crash(stage: Stage) -> EngineFailure:
    with tempfile.NamedTemporaryFile() as log:
        return await stage.failure(harm_job("Crash", f"test:?times=99&log={log.name}"))


async def _socks(
    stage: Stage, job: EngineJob, scenario: str = "", param: int = 0, egress: str = "socks"
) -> EngineFailure:
    """Return the failure of a job whose way out is a SOCKS proxy."""
    if scenario:
        stage.standin.switches.set(scenario, param=param)
    try:
        return await stage.failure(msgspec.structs.replace(job, egress=egress))
    finally:
        stage.standin.reset()


def _dead_proxy(stage: Stage) -> Egress:
    return _proxied(stage, f"127.0.0.1:{closed_port()}")


def _proxied(stage: Stage, place: str) -> Egress:
    return msgspec.structs.replace(stage.egress, proxy=f"http://{place}")


def _untrusting(stage: Stage) -> Egress:
    return Egress(proxy=stage.standin.proxy_url)


FAILING_PROFILES = (
    *("profile.private", "profile.missing", "profile.hidden"),
    *("list.429", "list.nothing", "list.same", "list.status"),
    *("page.429", "login", "layout", "captcha", "challenge.again", "notfound"),
)
"""Scenarios of a profile's page and of its list."""

SOCKS_REPLIES = (1, 2, 3, 4, 5, 6, 7, 8, 9)
"""Of RFC 1928, and one that is none."""


def _socks_ways(standin: Standin) -> dict[str, str]:
    """Return URLs of SOCKS proxies by the names of their egresses: one that works and others."""
    return {
        "socks": standin.socks_url,
        "socks-login": standin.socks_url.replace("://", "://anna:wrong@"),
        "socks-closed": f"socks5h://127.0.0.1:{closed_port()}",
        "socks-dns": f"socks5h://{NO_NAME}:1",
    }


def _socks_plays(name: str, job: EngineJob) -> "dict[str, Play]":
    """Return all ways in which a SOCKS proxy fails a job: each handler has words of its own."""
    hanging = msgspec.structs.replace(job, deadline_seconds=HANG_SECONDS)
    return {
        **{
            f"socks.{reply}{name}": lambda stage, reply=reply: _socks(  # type: ignore[misc]
                stage, job, "socks.reply", reply
            )
            for reply in SOCKS_REPLIES
        },
        f"socks.methods{name}": lambda stage: _socks(stage, job, "socks.methods"),
        f"socks.http{name}": lambda stage: _socks(stage, job, "socks.http"),
        f"socks.close{name}": lambda stage: _socks(stage, job, "socks.close"),
        f"socks.unreachable{name}": lambda stage: _socks(stage, job, "connect.502"),
        f"socks.tls{name}": lambda stage: _socks(stage, job, "connect.tls"),
        f"socks.hang{name}": lambda stage: _socks(stage, hanging, "connect.hang"),
        **{
            f"{egress.replace('-', '.')}{name}": lambda stage, egress=egress: _socks(  # type: ignore[misc]
                stage, job, egress=egress
            )
            for egress in ("socks-login", "socks-closed", "socks-dns")
        },
    }


Play = Callable[[Stage], Coroutine[Any, Any, EngineFailure]]
PLAYS: dict[str, Play] = {
    **{
        name: lambda stage, name=name: stage.failure(page_job(name))  # type: ignore[misc]
        for name in (*FAILING_PAGES, *WITHHELD_POSTS)
    },
    **{
        f"link.{kind}": lambda stage, kind=kind: stage.failure(link_job(kind))  # type: ignore[misc]
        for kind in FAILING_LINKS
    },
    **{name: lambda stage, name=name: _connection(stage, name) for name in CONNECTIONS},  # type: ignore[misc]
    **{
        f"profile:{name}": lambda stage, name=name: stage.failure(profile_job(f"sc_{name}"))  # type: ignore[misc]
        for name in FAILING_PROFILES
    },
    "collection:list.status": lambda stage: stage.failure(
        collection_job(video_id("list.status", param=10002))
    ),
    "collection:list.429": lambda stage: stage.failure(collection_job(video_id("list.429"))),
    "extractor.unknown": lambda stage: stage.failure(page_job(extractor="yt-dlp:NoSuchSite")),
    **_socks_plays("", page_job()),
    **_socks_plays(".link", link_job("video")),
    "proxy.closed": lambda stage: stage.failure_with(page_job(), _dead_proxy(stage)),
    "proxy.closed.link": lambda stage: stage.failure_with(link_job("video"), _dead_proxy(stage)),
    "connect.502.link": lambda stage: _connection(stage, "connect.502", link_job("video")),
    "connect.tls.link": lambda stage: _connection(stage, "connect.tls", link_job("video")),
    "proxy.dns": lambda stage: stage.failure_with(page_job(), _proxied(stage, f"{NO_NAME}:1")),
    "proxy.dns.link": lambda stage: stage.failure_with(
        link_job("video"), _proxied(stage, f"{NO_NAME}:1")
    ),
    "proxy.label.link": lambda stage: stage.failure_with(
        link_job("video"), _proxied(stage, f"{'x' * 64}.tiktok.com:1")
    ),
    "dns": lambda stage: stage.failure_with(
        harm_job("Fetch", f"https://{NO_NAME}/?browser=1"), Egress()
    ),
    "dns.link": lambda stage: stage.failure_with(
        harm_job("Fetch", f"https://{NO_NAME}/"), Egress()
    ),
    "untrusted": lambda stage: stage.failure_with(page_job(), _untrusting(stage)),
    "untrusted.link": lambda stage: stage.failure_with(link_job("video"), _untrusting(stage)),
    "address.refused": lambda stage: _address(stage, "1"),
    "address.refused.link": lambda stage: _address(stage, ""),
    "not.tiktok": lambda stage: stage.failure(page_job(url="https://clips.example.com/1")),
    "address.scheme": lambda stage: stage.failure(harm_job("Fetch", "file:///etc/passwd")),
    "address.hostless": lambda stage: stage.failure(harm_job("Fetch", "https:///x")),
    "status.unknown": lambda stage: stage.failure(
        page_job(url=f"https://www.tiktok.com/@_/video/{UNKNOWN_STATUS}")
    ),
    "live.ended": lambda stage: stage.failure(
        page_job(url="https://www.tiktok.com/@a/live", extractor=LIVE_EXTRACTOR)
    ),
    "formats.none": lambda stage: stage.failure(harm_job("Formats", "test:?ids=")),
    "formats.other": lambda stage: stage.failure(harm_job("Formats", "test:?ids=a,b")),
    "page.reshaped": lambda stage: stage.failure(harm_job("Reshaped")),
    "disk.full": lambda stage: stage.failure(harm_job("FullDisk")),
    "engine.timeout": lambda stage: stage.failure(harm_job("Stuck", seconds=HANG_SECONDS)),
    "engine.crash": _crash,
    "engine.closed": _closed,
    "engine.memory": lambda stage: stage.failure_with(
        harm_job("Memory", f"test:?bytes={300 * MEBIBYTE}"),
        stage.egress,
        memory_bytes_max=256 * MEBIBYTE,
    ),
    "engine.job": lambda stage: stage.failure(page_job(cookies=MANY_COOKIES)),
    "engine.result": lambda stage: stage.failure(harm_job("Big", "test:?bytes=1000001")),
}


async def record(begin: str = "") -> None:
    """Play everything, or what begins like this, and write `SAMPLES`."""
    samples: dict[str, Any] = msgspec.json.decode(SAMPLES.read_bytes()) if begin else {}
    with tempfile.TemporaryDirectory() as directory:
        async with staged(Path(directory)) as stage:
            for name, play in PLAYS.items():
                if name.startswith(begin):
                    samples[name] = await play(stage)
    samples = {name: samples[name] for name in PLAYS}
    encoded = msgspec.json.format(msgspec.json.encode(samples), indent=2)
    SAMPLES.write_bytes(encoded + b"\n")


if __name__ == "__main__":
    asyncio.run(record(*sys.argv[1:]))
