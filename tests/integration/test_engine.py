"""The engine against the stand-in: real pages, real failures, real kills."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import yt_dlp

from agents.engine.interface import EngineFailure, EngineJob, EngineResult
from agents.engine.pool import EnginePool
from agents.network.egress import Egress
from schemas.errors import ClipmillError
from tests.integration.failure_samples import (
    FAILURE_CASES,
    HANG_SECONDS,
    MEBIBYTE,
    SAMPLES,
    SETTINGS,
    WORKING_PAGES,
    EngineHarness,
    engine_harness,
    failure_of,
    faulty_job,
    link_job,
    page_job,
)
from tests.standin import SCENARIOS, user_name, video_id
from tests.unit.agents.engine.processes import alive, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDED = msgspec.json.decode(SAMPLES.read_bytes(), type=dict[str, EngineFailure])
DAY = 86_400
PROFILE_EXTRACTOR = "yt_dlp.extractor.tiktok:TikTokUserIE"
NUMBERS = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")
MAIN = """
import asyncio, os, signal, sys, time
from agents.engine.interface import EngineJob
from agents.engine.pool import EnginePool
from agents.engine.interface import PoolSettings
from agents.network.egress import Egress
from tests.unit.agents.engine.extractors import extractor_path

async def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    async with EnginePool(PoolSettings(processes=2), Egress()) as pool:
        job = lambda kind: pool.extract(
            EngineJob(url="test:?seconds=50", extractor=extractor_path(kind))
        )
        tasks = [asyncio.create_task(job(kind)) for kind in ("Stuck", "Echo", "Echo")]
        await asyncio.sleep(0.2)
        if "fork" in sys.argv and os.fork() == 0:
            # A forked process that holds copies of all file descriptors.
            time.sleep(5)
            os._exit(0)
        stats = pool.stats()
        print(stats.fork_server_pid, *stats.pids, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EngineHarness]:
    async with engine_harness(tmp_path_factory.mktemp("standin")) as harness:
        yield harness


SLOW = video_id("page.slow", param=300)


def slow_page() -> EngineJob:
    return page_job(url=f"https://www.tiktok.com/@_/video/{SLOW}")


def info_of(result: EngineResult) -> Any:
    return json.loads(bytes(result.raw))


def without_numbers(failure: EngineFailure) -> EngineFailure:
    """Return the failure without the numbers in its message: ports, times, sizes."""
    return msgspec.structs.replace(failure, message=NUMBERS.sub("#", failure.message))


async def test_page_is_extracted(harness: EngineHarness) -> None:
    result = await harness.pool.extract(page_job("ok", serial=77))
    info = info_of(result)
    assert info["id"] == video_id("ok", serial=77)
    assert len(info["formats"]) >= 6
    assert "tt_chain_token" in {cookie.name for cookie in result.cookies}
    assert {cookie.domain for cookie in result.cookies} == {".tiktok.com"}
    assert result.versions == harness.pool.stats().versions


async def test_cookies_have_their_expiry(harness: EngineHarness) -> None:
    result = await harness.pool.extract(page_job())
    ends = {cookie.name: cookie.expires_at for cookie in result.cookies}
    token = ends["tt_chain_token"]
    assert token is not None
    assert time.time() + 170 * DAY < token < time.time() + 190 * DAY


@pytest.mark.parametrize("scenario", ["hostile", "photo", "challenge", "page.slow", "noformats"])
async def test_unusual_page_is_extracted(harness: EngineHarness, scenario: str) -> None:
    assert info_of(await harness.pool.extract(page_job(scenario)))["id"] == video_id(scenario)


@pytest.mark.parametrize(
    ("entries_max", "count", "pages", "complete"),
    [
        (10, 10, 1, False),
        (15, 15, 1, False),
        (16, 16, 2, False),
        (25, 25, 2, True),
        (99, 25, 2, True),
    ],
)
async def test_profile_is_read_up_to_the_entry_limit(
    harness: EngineHarness, entries_max: int, count: int, pages: int, complete: bool
) -> None:
    harness.standin.counters.reset()
    url = f"https://www.tiktok.com/@{user_name('profile', param=25)}"
    job = EngineJob(url=url, extractor=PROFILE_EXTRACTOR, entries_max=entries_max)
    found = info_of(await harness.pool.extract(job))
    assert len({entry["url"] for entry in found["entries"]}) == count
    assert found["clipmill_complete"] is complete
    assert harness.standin.counters.requests["listing"] == pages


async def test_short_link_is_resolved(harness: EngineHarness) -> None:
    found = info_of(await harness.pool.extract(link_job("video")))
    assert found["_type"] == "url"
    assert video_id() in found["url"]


async def test_connections_are_reused(harness: EngineHarness) -> None:
    before = harness.standin.counters.connections
    for serial in range(20):
        await harness.pool.extract(page_job(serial=serial))
    assert harness.standin.counters.connections - before <= SETTINGS.processes


@pytest.mark.parametrize("name", FAILURE_CASES)
async def test_failure_equals_the_recorded_one(harness: EngineHarness, name: str) -> None:
    assert without_numbers(await FAILURE_CASES[name](harness)) == without_numbers(RECORDED[name])


async def test_every_failure_of_the_standin_is_recorded() -> None:
    surfaces = {"page", "connect"}
    names = {row.name for row in SCENARIOS if row.surface in surfaces}
    assert RECORDED.keys() == FAILURE_CASES.keys()
    assert names - RECORDED.keys() == WORKING_PAGES


@pytest.mark.parametrize("scenario", ["page.hang", "page.drip"])
async def test_slow_page_ends_at_the_deadline_without_a_kill(
    harness: EngineHarness, scenario: str
) -> None:
    kills, started = harness.pool.stats().kills, time.monotonic()
    await harness.failure(page_job(scenario, deadline_seconds=0.7))
    assert 0.6 < time.monotonic() - started < 0.7 + SETTINGS.kill_grace_seconds
    assert harness.pool.stats().kills == kills


async def test_large_page_is_refused_quickly(harness: EngineHarness) -> None:
    started = time.monotonic()
    await harness.failure(page_job("page.huge"))
    assert time.monotonic() - started < 2


async def test_fifty_concurrent_extractions(harness: EngineHarness) -> None:
    jobs = [page_job(serial=serial) for serial in range(50)]
    results = await asyncio.gather(*(harness.pool.extract(job) for job in jobs))
    ids = [info_of(result)["id"] for result in results]
    assert ids == [video_id(serial=serial) for serial in range(50)]


async def test_cookies_of_one_video_do_not_reach_another(harness: EngineHarness) -> None:
    results = await asyncio.gather(
        *(harness.pool.extract(page_job(serial=serial)) for serial in range(20))
    )
    tokens = {
        cookie.value
        for result in results
        for cookie in result.cookies
        if cookie.name == "tt_chain_token"
    }
    assert len(tokens) == len(results)


async def test_stuck_job_does_not_affect_other_jobs(harness: EngineHarness) -> None:
    before = harness.pool.stats()
    slow = [asyncio.create_task(harness.pool.extract(page_job("page.slow"))) for _ in range(6)]
    found = await harness.failure(faulty_job("Stuck", seconds=0.3))
    assert found.types == ("EngineTimeout",)
    results = await asyncio.gather(*slow)
    assert {info_of(result)["id"] for result in results} == {video_id("page.slow")}
    assert harness.pool.stats().kills == before.kills + 1


LIMITED_MEMORY = msgspec.structs.replace(SETTINGS, memory_bytes_max=256 * MEBIBYTE)
FAULTS = {
    "holds the interpreter": (faulty_job("Stuck", seconds=HANG_SECONDS), "EngineTimeout"),
    "takes all memory": (faulty_job("Memory", f"test:?bytes={300 * MEBIBYTE}"), "MemoryError"),
    "aborts without memory": (faulty_job("Leak", "test:?abort=1"), "EngineCrash"),
}


@pytest.mark.parametrize(("job", "outcome"), FAULTS.values(), ids=FAULTS)
async def test_harmful_job_costs_only_its_process(
    harness: EngineHarness, job: EngineJob, outcome: str
) -> None:
    async with EnginePool(LIMITED_MEMORY, harness.egress) as pool:
        before = pool.stats()
        slow = [asyncio.create_task(pool.extract(slow_page())) for _ in range(6)]
        assert (await failure_of(pool, job)).types == (outcome,)
        assert {info_of(result)["id"] for result in await asyncio.gather(*slow)} == {SLOW}
        await until(lambda: pool.stats().processes_alive == LIMITED_MEMORY.processes)
        assert len(set(before.pids) & set(pool.stats().pids)) == LIMITED_MEMORY.processes - 1
        assert pool.stats().fork_server_pid == before.fork_server_pid


async def test_memory_leaked_by_a_job_fails_no_other_job(harness: EngineHarness) -> None:
    async with EnginePool(LIMITED_MEMORY, harness.egress) as pool:
        before = pool.stats().pids
        await pool.extract(faulty_job("Leak", "test:?"))
        pages = [pool.extract(page_job(serial=serial)) for serial in range(16)]
        ids = [info_of(result)["id"] for result in await asyncio.gather(*pages)]
        assert ids == [video_id(serial=serial) for serial in range(16)]
        await until(lambda: pool.stats().processes_alive == LIMITED_MEMORY.processes)
        assert len(set(before) & set(pool.stats().pids)) == LIMITED_MEMORY.processes - 1


async def test_stopped_process_fails_only_the_job_past_its_deadline(harness: EngineHarness) -> None:
    settings = msgspec.structs.replace(SETTINGS, processes=1)
    async with EnginePool(settings, harness.egress) as pool:
        [stopped] = pool.stats().pids
        slow = [asyncio.create_task(pool.extract(slow_page())) for _ in range(4)]
        await until(lambda: pool.stats().jobs_in_flight == 4)
        os.kill(stopped, signal.SIGSTOP)
        found = await failure_of(pool, page_job(deadline_seconds=0.2))
        assert found.types == ("EngineTimeout",)
        assert {info_of(result)["id"] for result in await asyncio.gather(*slow)} == {SLOW}
        assert not alive([stopped])
        assert (pool.stats().kills, pool.stats().crashes) == (1, 0)


def another_yt_dlp(directory: Path, version: str) -> Path:
    """Copy the installed yt-dlp into a folder, as another version."""
    target = directory / "yt_dlp"
    unneeded = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(yt_dlp.__file__).parent, target, ignore=unneeded)
    (target / "version.py").write_text(
        (target / "version.py").read_text().replace(yt_dlp.version.__version__, version)
    )
    return directory


async def test_yt_dlp_of_packages_dir_is_used(harness: EngineHarness, tmp_path: Path) -> None:
    installed = (await harness.pool.extract(page_job())).versions
    packages = await asyncio.to_thread(another_yt_dlp, tmp_path, "2099.01.02")
    settings = msgspec.structs.replace(SETTINGS, processes=1, packages_dir=packages)
    async with EnginePool(settings, harness.egress) as pool:
        result = await pool.extract(page_job())
        assert info_of(result)["id"] == video_id()
        assert result.versions.yt_dlp == "2099.01.02"
        assert result.versions.curl_cffi == installed.curl_cffi
        assert pool.stats().impersonation
    assert installed.yt_dlp == yt_dlp.version.__version__


async def test_unusable_packages_dir_fails_the_start(
    harness: EngineHarness, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(SETTINGS, packages_dir=tmp_path)
    with pytest.raises(ClipmillError, match=r"engine\.packages_dir .* no yt_dlp"):
        async with EnginePool(settings, harness.egress):
            pass


async def _check_kill(
    harness: EngineHarness, choose: Callable[[tuple[int, ...]], tuple[int, ...]]
) -> None:
    await until(lambda: harness.pool.stats().processes_alive == SETTINGS.processes)
    # Processes start anew before the deadline, on a loaded machine too.
    job = msgspec.structs.replace(page_job("page.slow"), deadline_seconds=90.0)
    slow = [asyncio.create_task(harness.pool.extract(job)) for _ in range(6)]
    await until(lambda: harness.pool.stats().jobs_in_flight == 6)
    for pid in choose(harness.pool.stats().pids):
        os.kill(pid, signal.SIGKILL)
    results = await asyncio.gather(*slow)
    assert {info_of(result)["id"] for result in results} == {video_id("page.slow")}
    await until(lambda: harness.pool.stats().processes_alive == SETTINGS.processes)


async def test_kill_of_a_process_loses_nothing(harness: EngineHarness) -> None:
    await _check_kill(harness, lambda pids: pids[:1])


async def test_kill_of_all_processes_loses_nothing(harness: EngineHarness) -> None:
    await _check_kill(harness, lambda pids: pids)


async def test_kill_of_the_fork_server_loses_nothing(harness: EngineHarness) -> None:
    await _check_kill(harness, lambda _pids: (harness.pool.stats().fork_server_pid or 0,))


@pytest.mark.parametrize("variable", ["CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("job", [page_job(), link_job("video")], ids=["curl", "requests"])
async def test_ca_variables_of_the_environment_are_not_trusted(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, variable: str, job: EngineJob
) -> None:
    monkeypatch.setenv(variable, str(harness.egress.ca_bundle))
    found = await harness.failure_with(job, Egress(proxy=harness.egress.proxy), processes=1)
    assert "CertificateVerifyError" in found.types


@pytest.mark.parametrize("job", [page_job(), link_job("video")], ids=["curl", "requests"])
async def test_environment_does_not_override_proxy_and_roots(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: EngineJob
) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for variable in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(empty))
    for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "*")
    async with EnginePool(msgspec.structs.replace(SETTINGS, processes=1), harness.egress) as pool:
        assert info_of(await pool.extract(job))


async def test_user_plugins_are_not_loaded(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plugin = tmp_path / "yt_dlp_plugins" / "extractor" / "evil.py"
    plugin.parent.mkdir(parents=True)
    mark = tmp_path / "loaded"
    plugin.write_text(f"open({str(mark)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with EnginePool(msgspec.structs.replace(SETTINGS, processes=1), harness.egress) as pool:
        await pool.extract(page_job())
    assert not mark.exists()


@contextmanager
def main_process(*arguments: str) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """Run another program with an engine; yield it with the engine's process ids."""
    command = [sys.executable, "-c", MAIN, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as main:
        assert main.stdout is not None
        pids = [int(word) for word in main.stdout.readline().split()]
        assert len(pids) == 3
        assert alive(pids) == pids
        yield main, pids
        main.kill()


@pytest.mark.parametrize("arguments", [[], ["fork"]], ids=["alone", "with a forked process"])
async def test_no_process_survives_a_killed_main_process(arguments: list[str]) -> None:
    with main_process(*arguments) as (main, pids):
        main.kill()
        await until(lambda: not alive(pids), seconds=2)


async def test_sigint_of_the_terminal_does_not_end_the_engine() -> None:
    with main_process() as (main, pids):
        os.killpg(main.pid, signal.SIGINT)
        await asyncio.sleep(0.3)
        assert alive(pids) == pids


async def test_closed_engine_rejects_jobs(harness: EngineHarness) -> None:
    closed = EnginePool(SETTINGS, harness.egress)
    assert (await failure_of(closed, page_job())).types == ("EngineClosed",)
