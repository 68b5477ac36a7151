"""Every failure of a TikTok extraction, provoked with the stand-in and the real engine.

``python -m tests.integration.failure_samples`` records `SAMPLES` again: after an update of yt-dlp
or curl_cffi, or with a new scenario. The diff shows what the update changed. With an argument such
as ``socks``, only failures whose name begins with it are recorded.
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

from agents.engine.interface import EngineError, EngineFailure, EngineJob, PoolSettings
from agents.engine.pool import EnginePool
from agents.network.egress import Egress, write_ca_bundle
from agents.platforms.tiktok.handler import EXTRACTOR
from schemas.video import Cookie
from tests.standin import SCENARIOS, Standin, short_code, video_id
from tests.unit.agents.engine.extractors import extractor_path

SAMPLES = Path(__file__).parents[1] / "samples" / "tiktok_failures.json"
LIVE_EXTRACTOR = "yt_dlp.extractor.tiktok:TikTokLiveIE"
PROFILE_EXTRACTOR = "agents.platforms.tiktok.list_pages:TikTokUserIE"
COLLECTION_EXTRACTOR = "agents.platforms.tiktok.list_pages:TikTokCollectionIE"
LINK_EXTRACTOR = "yt_dlp.extractor.tiktok:TikTokVMIE"
SETTINGS = PoolSettings(processes=2, kill_grace_seconds=0.3, preload=(EXTRACTOR,))
DEADLINE_SECONDS = 5.0
HANG_SECONDS = 0.5
MEBIBYTE = 1024 * 1024
# Too long for a host name, so that no resolver is queried.
NO_NAME = ".".join(["x" * 60] * 5) + ".tiktok.com"
# More than fits into a message to an engine process.
MANY_COOKIES = tuple(
    Cookie(name=str(number), value="v" * 4_000, domain=".tiktok.com") for number in range(1_100)
)
# 10004 is an unknown status.
UNKNOWN_STATUS = video_id("status", param=10004)

FAILING_LINKS = ("dead", "loop", "limited", "broken", "hang", "page", "loopback", "outside")
WORKING_PAGES = frozenset({"page.slow", "challenge", "challenge.any", "moved"})
WITHHELD_POSTS = ("shop", "ad")
FAILING_PAGES = tuple(
    row.name for row in SCENARIOS if row.surface == "page" and row.name not in WORKING_PAGES
)
CONNECTIONS = tuple(row.name for row in SCENARIOS if row.surface == "connect")
HANGING = frozenset({"page.hang", "page.drip", "connect.hang", "link.hang"})


class EngineHarness:
    """A stand-in, and an engine whose egress is the stand-in."""

    def __init__(self, standin: Standin, egress: Egress, pool: EnginePool) -> None:
        self.standin = standin
        self.egress = egress
        self.pool = pool

    async def failure(self, job: EngineJob) -> EngineFailure:
        """Return the job's failure in the harness's engine."""
        return await failure_of(self.pool, job)

    async def failure_with(self, job: EngineJob, egress: Egress, **settings: Any) -> EngineFailure:
        """Return the job's failure in another engine."""
        async with EnginePool(msgspec.structs.replace(SETTINGS, **settings), egress) as pool:
            return await failure_of(pool, job)


@asynccontextmanager
async def engine_harness(directory: Path) -> AsyncIterator[EngineHarness]:
    async with Standin(directory) as standin:
        bundle = await asyncio.to_thread(write_ca_bundle, standin.ca_file, directory / "bundle.pem")
        egress = Egress(proxy=standin.proxy_url, ca_file=standin.ca_file, ca_bundle=bundle)
        proxies = [
            msgspec.structs.replace(egress, name=name, proxy=url)
            for name, url in _socks_proxies(standin).items()
        ]
        async with EnginePool(SETTINGS, egress, *proxies) as pool:
            yield EngineHarness(standin, egress, pool)


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


def faulty_job(kind: str, url: str = "test:1", seconds: float = DEADLINE_SECONDS) -> EngineJob:
    return EngineJob(url=url, extractor=extractor_path(kind), deadline_seconds=seconds)


async def failure_of(pool: EnginePool, job: EngineJob) -> EngineFailure:
    try:
        result = await pool.extract(job)
    except EngineError as error:
        return error.failure
    raise AssertionError(f"{job.url} did not fail: {bytes(result.raw)[:100]!r}")


def closed_port() -> int:
    """Return a loopback port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


async def _connection(
    harness: EngineHarness, scenario: str, job: EngineJob | None = None
) -> EngineFailure:
    harness.standin.switches.set(scenario)
    seconds = HANG_SECONDS if scenario in HANGING else DEADLINE_SECONDS
    try:
        # In a new engine: the existing one has open connections.
        return await harness.failure_with(job or page_job(deadline_seconds=seconds), harness.egress)
    finally:
        harness.standin.reset()


async def _closed(harness: EngineHarness) -> EngineFailure:
    return await failure_of(EnginePool(SETTINGS, harness.egress), page_job())


async def _address(harness: EngineHarness, browser: str) -> EngineFailure:
    url = f"http://127.0.0.1:{closed_port()}/?browser={browser}"
    return await harness.failure_with(faulty_job("Fetch", url), Egress())


async def _crash(harness: EngineHarness) -> EngineFailure:
    with tempfile.NamedTemporaryFile() as log:
        return await harness.failure(faulty_job("Crash", f"test:?times=99&log={log.name}"))


async def _socks(
    harness: EngineHarness,
    job: EngineJob,
    scenario: str = "",
    param: int = 0,
    egress: str = "socks",
) -> EngineFailure:
    """Return the failure of a job whose egress is a SOCKS proxy."""
    if scenario:
        harness.standin.switches.set(scenario, param=param)
    try:
        return await harness.failure(msgspec.structs.replace(job, egress=egress))
    finally:
        harness.standin.reset()


def _dead_proxy(harness: EngineHarness) -> Egress:
    return _proxied(harness, f"127.0.0.1:{closed_port()}")


def _proxied(harness: EngineHarness, address: str) -> Egress:
    return msgspec.structs.replace(harness.egress, proxy=f"http://{address}")


def _untrusting(harness: EngineHarness) -> Egress:
    return Egress(proxy=harness.standin.proxy_url)


FAILING_PROFILES = (
    *("profile.private", "profile.missing", "profile.hidden"),
    *("list.429", "list.nothing", "list.same", "list.status"),
    *("page.429", "login", "layout", "captcha", "challenge.again", "notfound"),
)
"""Scenarios of a profile page and of its list."""

SOCKS_REPLIES = (1, 2, 3, 4, 5, 6, 7, 8, 9)
"""Reply codes of RFC 1928, and an invalid one."""


def _socks_proxies(standin: Standin) -> dict[str, str]:
    """Return URLs of SOCKS proxies by egress name: one that works and three that fail."""
    return {
        "socks": standin.socks_url,
        "socks-login": standin.socks_url.replace("://", "://anna:wrong@"),
        "socks-closed": f"socks5h://127.0.0.1:{closed_port()}",
        "socks-dns": f"socks5h://{NO_NAME}:1",
    }


def _socks_failure_cases(name: str, job: EngineJob) -> "dict[str, FailureCase]":
    """Return the failure cases of SOCKS proxies: each HTTP library has its own messages."""
    hanging = msgspec.structs.replace(job, deadline_seconds=HANG_SECONDS)
    return {
        **{
            f"socks.{reply}{name}": lambda harness, reply=reply: _socks(  # type: ignore[misc]
                harness, job, "socks.reply", reply
            )
            for reply in SOCKS_REPLIES
        },
        f"socks.methods{name}": lambda harness: _socks(harness, job, "socks.methods"),
        f"socks.http{name}": lambda harness: _socks(harness, job, "socks.http"),
        f"socks.close{name}": lambda harness: _socks(harness, job, "socks.close"),
        f"socks.unreachable{name}": lambda harness: _socks(harness, job, "connect.502"),
        f"socks.tls{name}": lambda harness: _socks(harness, job, "connect.tls"),
        f"socks.hang{name}": lambda harness: _socks(harness, hanging, "connect.hang"),
        **{
            f"{egress.replace('-', '.')}{name}": lambda harness, egress=egress: _socks(  # type: ignore[misc]
                harness, job, egress=egress
            )
            for egress in ("socks-login", "socks-closed", "socks-dns")
        },
    }


FailureCase = Callable[[EngineHarness], Coroutine[Any, Any, EngineFailure]]
FAILURE_CASES: dict[str, FailureCase] = {
    **{
        name: lambda harness, name=name: harness.failure(page_job(name))  # type: ignore[misc]
        for name in (*FAILING_PAGES, *WITHHELD_POSTS)
    },
    **{
        f"link.{kind}": lambda harness, kind=kind: harness.failure(link_job(kind))  # type: ignore[misc]
        for kind in FAILING_LINKS
    },
    **{name: lambda harness, name=name: _connection(harness, name) for name in CONNECTIONS},  # type: ignore[misc]
    **{
        f"profile:{name}": lambda harness, name=name: harness.failure(profile_job(f"sc_{name}"))  # type: ignore[misc]
        for name in FAILING_PROFILES
    },
    "collection:list.status": lambda harness: harness.failure(
        collection_job(video_id("list.status", param=10002))
    ),
    "collection:list.429": lambda harness: harness.failure(collection_job(video_id("list.429"))),
    "extractor.unknown": lambda harness: harness.failure(page_job(extractor="yt-dlp:NoSuchSite")),
    **_socks_failure_cases("", page_job()),
    **_socks_failure_cases(".link", link_job("video")),
    "proxy.closed": lambda harness: harness.failure_with(page_job(), _dead_proxy(harness)),
    "proxy.closed.link": lambda harness: harness.failure_with(
        link_job("video"), _dead_proxy(harness)
    ),
    "connect.502.link": lambda harness: _connection(harness, "connect.502", link_job("video")),
    "connect.tls.link": lambda harness: _connection(harness, "connect.tls", link_job("video")),
    "proxy.dns": lambda harness: harness.failure_with(
        page_job(), _proxied(harness, f"{NO_NAME}:1")
    ),
    "proxy.dns.link": lambda harness: harness.failure_with(
        link_job("video"), _proxied(harness, f"{NO_NAME}:1")
    ),
    "proxy.label.link": lambda harness: harness.failure_with(
        link_job("video"), _proxied(harness, f"{'x' * 64}.tiktok.com:1")
    ),
    "dns": lambda harness: harness.failure_with(
        faulty_job("Fetch", f"https://{NO_NAME}/?browser=1"), Egress()
    ),
    "dns.link": lambda harness: harness.failure_with(
        faulty_job("Fetch", f"https://{NO_NAME}/"), Egress()
    ),
    "untrusted": lambda harness: harness.failure_with(page_job(), _untrusting(harness)),
    "untrusted.link": lambda harness: harness.failure_with(link_job("video"), _untrusting(harness)),
    "address.refused": lambda harness: _address(harness, "1"),
    "address.refused.link": lambda harness: _address(harness, ""),
    "not.tiktok": lambda harness: harness.failure(page_job(url="https://clips.example.com/1")),
    "address.scheme": lambda harness: harness.failure(faulty_job("Fetch", "file:///etc/passwd")),
    "address.hostless": lambda harness: harness.failure(faulty_job("Fetch", "https:///x")),
    "status.unknown": lambda harness: harness.failure(
        page_job(url=f"https://www.tiktok.com/@_/video/{UNKNOWN_STATUS}")
    ),
    "live.ended": lambda harness: harness.failure(
        page_job(url="https://www.tiktok.com/@a/live", extractor=LIVE_EXTRACTOR)
    ),
    "formats.none": lambda harness: harness.failure(faulty_job("Formats", "test:?ids=")),
    "formats.other": lambda harness: harness.failure(faulty_job("Formats", "test:?ids=a,b")),
    "page.reshaped": lambda harness: harness.failure(faulty_job("Reshaped")),
    "disk.full": lambda harness: harness.failure(faulty_job("FullDisk")),
    "engine.timeout": lambda harness: harness.failure(faulty_job("Stuck", seconds=HANG_SECONDS)),
    "engine.crash": _crash,
    "engine.closed": _closed,
    "engine.memory": lambda harness: harness.failure_with(
        faulty_job("Memory", f"test:?bytes={300 * MEBIBYTE}"),
        harness.egress,
        memory_bytes_max=256 * MEBIBYTE,
    ),
    "engine.job": lambda harness: harness.failure(page_job(cookies=MANY_COOKIES)),
    "engine.result": lambda harness: harness.failure(faulty_job("Big", "test:?bytes=1000001")),
}


async def record(prefix: str = "") -> None:
    """Provoke all failures, or those with this prefix, and write `SAMPLES`."""
    samples: dict[str, Any] = msgspec.json.decode(SAMPLES.read_bytes()) if prefix else {}
    with tempfile.TemporaryDirectory() as directory:
        async with engine_harness(Path(directory)) as harness:
            for name, provoke in FAILURE_CASES.items():
                if name.startswith(prefix):
                    samples[name] = await provoke(harness)
    samples = {name: samples[name] for name in FAILURE_CASES}
    encoded = msgspec.json.format(msgspec.json.encode(samples), indent=2)
    SAMPLES.write_bytes(encoded + b"\n")


if __name__ == "__main__":
    asyncio.run(record(*sys.argv[1:]))
