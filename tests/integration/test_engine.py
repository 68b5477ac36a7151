"""The engine against the stand-in: real pages, real failures, real kills."""

import asyncio
import json
import os
import re
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

from agents.engine.interface import EngineFailure, EngineJob, EngineResult
from agents.engine.pool import EnginePool
from agents.network.egress import Egress
from tests.integration.failure_samples import (
    PLAYS,
    SAMPLES,
    SETTINGS,
    Stage,
    failure_of,
    harm_job,
    link_job,
    page_job,
    staged,
)
from tests.standin import SCENARIOS, video_id
from tests.unit.engine.processes import alive, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDED = msgspec.json.decode(SAMPLES.read_bytes(), type=dict[str, EngineFailure])
PAGE_NUMBER = re.compile(r"&page=\d+")
NUMBERS = re.compile(r"\d+(\.\d+)?")
MAIN = """
import asyncio, os, signal, sys, time
from agents.engine.interface import EngineJob
from agents.engine.pool import EnginePool
from agents.engine.settings import EngineSettings
from agents.network.egress import Egress
from tests.unit.engine.extractors import named

async def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    async with EnginePool(EngineSettings(processes=2), Egress()) as pool:
        job = lambda kind: pool.extract(EngineJob(url="test:?seconds=50", extractor=named(kind)))
        tasks = [asyncio.create_task(job(kind)) for kind in ("Stuck", "Echo", "Echo")]
        await asyncio.sleep(0.2)
        if "fork" in sys.argv and os.fork() == 0:
            # A relative that holds copies of every descriptor of ours.
            time.sleep(5)
            os._exit(0)
        stats = pool.stats()
        print(stats.fork_server_pid, *stats.pids, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("standin")) as stage:
        yield stage


def told(result: EngineResult) -> Any:
    return json.loads(bytes(result.raw))


def blurred(failure: EngineFailure) -> EngineFailure:
    """Return the failure without the numbers in its text: ports, times, sizes."""
    return msgspec.structs.replace(failure, message=NUMBERS.sub("#", failure.message))


async def test_page_becomes_a_result(stage: Stage) -> None:
    result = await stage.pool.extract(page_job("ok", serial=77))
    info = told(result)
    assert info["id"] == video_id("ok", serial=77)
    assert len(info["formats"]) >= 6
    assert "tt_chain_token" in {cookie.name for cookie in result.cookies}
    assert {cookie.domain for cookie in result.cookies} == {".tiktok.com"}
    assert result.versions == stage.pool.stats().versions


async def test_result_is_that_of_the_stock_extractor(stage: Stage) -> None:
    stock = page_job(extractor="yt_dlp.extractor.tiktok:TikTokIE")
    ours, theirs = await stage.pool.extract(page_job()), await stage.pool.extract(stock)
    assert PAGE_NUMBER.sub("", str(told(ours))) == PAGE_NUMBER.sub("", str(told(theirs)))


@pytest.mark.parametrize("scenario", ["hostile", "photo", "challenge", "page.slow", "noformats"])
async def test_uncommon_page_becomes_a_result(stage: Stage, scenario: str) -> None:
    assert told(await stage.pool.extract(page_job(scenario)))["id"] == video_id(scenario)


async def test_short_link_is_resolved(stage: Stage) -> None:
    found = told(await stage.pool.extract(link_job("video")))
    assert found["_type"] == "url"
    assert video_id() in found["url"]


async def test_connections_are_kept(stage: Stage) -> None:
    before = stage.standin.counters.connections
    for serial in range(20):
        await stage.pool.extract(page_job(serial=serial))
    places = SETTINGS.processes * SETTINGS.threads_per_process
    assert stage.standin.counters.connections - before <= places


@pytest.mark.parametrize("name", PLAYS)
async def test_failure_is_the_recorded_one(stage: Stage, name: str) -> None:
    assert blurred(await PLAYS[name](stage)) == blurred(RECORDED[name])


async def test_every_failure_of_the_standin_is_recorded() -> None:
    surfaces = {"page", "connect"}
    names = {row.name for row in SCENARIOS if row.surface in surfaces}
    assert RECORDED.keys() == PLAYS.keys()
    assert names - RECORDED.keys() == {"page.slow", "challenge"}


@pytest.mark.parametrize("scenario", ["page.hang", "page.drip"])
async def test_slow_page_ends_at_the_deadline_without_a_kill(stage: Stage, scenario: str) -> None:
    kills, started = stage.pool.stats().kills, time.monotonic()
    await stage.failure(page_job(scenario, deadline_seconds=0.7))
    assert 0.6 < time.monotonic() - started < 0.7 + SETTINGS.kill_grace_seconds
    assert stage.pool.stats().kills == kills


async def test_large_page_is_refused_quickly(stage: Stage) -> None:
    started = time.monotonic()
    await stage.failure(page_job("page.huge"))
    assert time.monotonic() - started < 2


async def test_fifty_at_once(stage: Stage) -> None:
    jobs = [page_job(serial=serial) for serial in range(50)]
    results = await asyncio.gather(*(stage.pool.extract(job) for job in jobs))
    ids = [told(result)["id"] for result in results]
    assert ids == [video_id(serial=serial) for serial in range(50)]


async def test_cookies_of_one_video_do_not_reach_another(stage: Stage) -> None:
    results = await asyncio.gather(
        *(stage.pool.extract(page_job(serial=serial)) for serial in range(20))
    )
    tokens = {
        cookie.value
        for result in results
        for cookie in result.cookies
        if cookie.name == "tt_chain_token"
    }
    assert len(tokens) == len(results)


async def test_stuck_job_leaves_the_others_untouched(stage: Stage) -> None:
    before = stage.pool.stats()
    slow = [asyncio.create_task(stage.pool.extract(page_job("page.slow"))) for _ in range(6)]
    found = await stage.failure(harm_job("Stuck", seconds=0.3))
    assert found.types == ("EngineTimeout",)
    results = await asyncio.gather(*slow)
    assert {told(result)["id"] for result in results} == {video_id("page.slow")}
    assert stage.pool.stats().kills == before.kills + 1


async def _killed(stage: Stage, choose: Callable[[tuple[int, ...]], tuple[int, ...]]) -> None:
    await until(lambda: stage.pool.stats().processes_alive == SETTINGS.processes)
    slow = [asyncio.create_task(stage.pool.extract(page_job("page.slow"))) for _ in range(6)]
    await until(lambda: stage.pool.stats().jobs_in_flight == 6)
    for pid in choose(stage.pool.stats().pids):
        os.kill(pid, signal.SIGKILL)
    results = await asyncio.gather(*slow)
    assert {told(result)["id"] for result in results} == {video_id("page.slow")}
    await until(lambda: stage.pool.stats().processes_alive == SETTINGS.processes)


async def test_kill_of_a_process_loses_nothing(stage: Stage) -> None:
    await _killed(stage, lambda pids: pids[:1])


async def test_kill_of_all_processes_loses_nothing(stage: Stage) -> None:
    await _killed(stage, lambda pids: pids)


async def test_kill_of_the_fork_server_loses_nothing(stage: Stage) -> None:
    await _killed(stage, lambda _pids: (stage.pool.stats().fork_server_pid or 0,))


@pytest.mark.parametrize("variable", ["CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("job", [page_job(), link_job("video")], ids=["curl", "requests"])
async def test_environment_cannot_make_the_engine_trust(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, variable: str, job: EngineJob
) -> None:
    monkeypatch.setenv(variable, str(stage.egress.ca_bundle))
    found = await stage.failure_with(job, Egress(proxy=stage.egress.proxy), processes=1)
    assert "CertificateVerifyError" in found.types


@pytest.mark.parametrize("job", [page_job(), link_job("video")], ids=["curl", "requests"])
async def test_environment_cannot_lead_the_engine_astray(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: EngineJob
) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for variable in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(empty))
    for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "*")
    async with EnginePool(msgspec.structs.replace(SETTINGS, processes=1), stage.egress) as pool:
        assert told(await pool.extract(job))


async def test_plugins_of_the_user_are_not_loaded(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plugin = tmp_path / "yt_dlp_plugins" / "extractor" / "evil.py"
    plugin.parent.mkdir(parents=True)
    mark = tmp_path / "loaded"
    plugin.write_text(f"open({str(mark)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with EnginePool(msgspec.structs.replace(SETTINGS, processes=1), stage.egress) as pool:
        await pool.extract(page_job())
    assert not mark.exists()


@contextmanager
def main_process(*arguments: str) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """Another program with an engine, and the process ids of that engine."""
    command = [sys.executable, "-c", MAIN, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as main:
        assert main.stdout is not None
        pids = [int(word) for word in main.stdout.readline().split()]
        assert len(pids) == 3
        assert alive(pids) == pids
        yield main, pids
        main.kill()


@pytest.mark.parametrize("arguments", [[], ["fork"]], ids=["alone", "with a forked relative"])
async def test_nothing_survives_a_killed_main_process(arguments: list[str]) -> None:
    with main_process(*arguments) as (main, pids):
        main.kill()
        await until(lambda: not alive(pids), seconds=2)


async def test_terminal_does_not_end_the_engine() -> None:
    with main_process() as (main, pids):
        os.killpg(main.pid, signal.SIGINT)
        await asyncio.sleep(0.3)
        assert alive(pids) == pids


async def test_closed_engine_takes_no_jobs(stage: Stage) -> None:
    closed = EnginePool(SETTINGS, stage.egress)
    assert (await failure_of(closed, page_job())).types == ("EngineClosed",)
