"""The pool with real processes and misbehaving extractors."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from agents.engine.interface import EngineError, EngineJob, PoolSettings
from agents.engine.pool import EnginePool
from agents.engine.supervisor import EngineStartError
from agents.network.egress import Egress
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie
from tests.unit.agents.engine.extractors import extractor_path
from tests.unit.agents.engine.processes import alive, until
from tests.unit.agents.engine.web import serving

SETTINGS = PoolSettings(
    processes=2, threads_per_process=2, kill_grace_seconds=0.2, preload=(extractor_path("Echo"),)
)


def settings(**changes: Any) -> PoolSettings:
    known = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__}
    return PoolSettings(**{**known, **changes})


@pytest.fixture
async def pool() -> AsyncIterator[EnginePool]:
    async with EnginePool(SETTINGS, Egress()) as pool:
        yield pool


MEGABYTE = 1024 * 1024


@pytest.fixture
async def small_pool() -> AsyncIterator[EnginePool]:
    async with EnginePool(settings(memory_bytes_max=256 * MEGABYTE), Egress()) as pool:
        yield pool


async def extract(
    pool: EnginePool, kind: str = "Echo", seconds: float = 10, scheme: str = "test:", **query: Any
) -> Any:
    text = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items())
    job = EngineJob(
        url=f"{scheme}?{text}", extractor=extractor_path(kind), deadline_seconds=seconds
    )
    return json.loads(bytes((await pool.extract(job)).raw))


async def failure_types(awaitable: Any) -> tuple[str, ...]:
    with pytest.raises(EngineError) as caught:
        await awaitable
    return caught.value.failure.types


async def test_spreads_jobs_over_processes(pool: EnginePool) -> None:
    found = await asyncio.gather(*(extract(pool, seconds=9) for _ in range(8)))
    stats = pool.stats()
    assert {each["pid"] for each in found} == set(stats.pids)
    assert {each["parent"] for each in found} == {stats.fork_server_pid}


async def test_stats_describe_the_pool(pool: EnginePool) -> None:
    stats = pool.stats()
    assert (stats.processes_wanted, stats.processes_alive) == (2, 2)
    assert stats.versions is not None
    assert stats.impersonation
    assert (stats.restarts, stats.kills, stats.crashes) == (0, 0, 0)


async def test_jobs_in_flight_and_waiting_are_counted(pool: EnginePool) -> None:
    tasks = [asyncio.create_task(_sleep(pool, 0.3)) for _ in range(6)]
    await until(lambda: pool.stats().jobs_in_flight == 4)
    assert pool.stats().jobs_waiting == 2
    await asyncio.gather(*tasks)
    assert (pool.stats().jobs_in_flight, pool.stats().jobs_waiting) == (0, 0)


async def _sleep(pool: EnginePool, seconds: float, deadline: float = 10) -> Any:
    job = EngineJob(
        url=f"test:?seconds={seconds}", extractor=extractor_path("Echo"), deadline_seconds=deadline
    )
    return json.loads(bytes((await pool.extract(job)).raw))


async def test_stuck_job_is_killed_and_the_others_are_retried(pool: EnginePool) -> None:
    before = set(pool.stats().pids)
    started = time.monotonic()
    stuck = asyncio.create_task(failure_types(extract(pool, "Stuck", seconds=0.5)))
    others = [asyncio.create_task(_sleep(pool, 0.4)) for _ in range(3)]
    assert await stuck == ("EngineTimeout",)
    assert time.monotonic() - started < 1.5
    await asyncio.gather(*others)
    await until(lambda: pool.stats().processes_alive == 2)
    stats = pool.stats()
    assert (stats.kills, stats.crashes, stats.restarts) == (1, 0, 1)
    assert len(before & set(stats.pids)) == 1


async def test_job_that_kills_its_process_fails_alone(pool: EnginePool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    others = [asyncio.create_task(_sleep(pool, 0.5)) for _ in range(3)]
    await until(lambda: pool.stats().jobs_in_flight == 3)
    assert await failure_types(extract(pool, "Crash", log=log, times=99)) == ("EngineCrash",)
    await asyncio.gather(*others)
    assert log.read_text() == "xx"
    await until(lambda: pool.stats().processes_alive == 2)
    stats = pool.stats()
    # One process of the pool was lost; the retry ran in quarantine.
    assert (stats.crashes, stats.restarts, stats.kills) == (2, 1, 0)


async def test_job_with_too_many_cookies_costs_no_process(pool: EnginePool) -> None:
    cookies = tuple(Cookie(name=str(n), value="v" * 4_000, domain=".a") for n in range(1_100))
    job = EngineJob(url="test:1", extractor=extractor_path("Echo"), cookies=cookies)
    others = [asyncio.create_task(_sleep(pool, 0.1)) for _ in range(6)]
    refused = await asyncio.gather(*(failure_types(pool.extract(job)) for _ in range(6)))
    assert set(refused) == {("JobTooLarge",)}
    assert len(await asyncio.gather(*others)) == 6
    stats = pool.stats()
    assert (stats.crashes, stats.kills, stats.restarts, stats.jobs_waiting) == (0, 0, 0, 0)


async def test_job_of_a_crashed_process_is_retried(pool: EnginePool, tmp_path: Path) -> None:
    found = await extract(pool, "Crash", log=tmp_path / "log", times=1)
    assert found["pid"] not in pool.stats().pids
    await until(lambda: not alive((found["pid"],)))


async def test_stopped_process_is_replaced_and_its_other_jobs_are_retried(
    pool: EnginePool,
) -> None:
    before = pool.stats().pids
    jobs = [asyncio.create_task(_sleep(pool, 0.3)) for _ in range(3)]
    await until(lambda: pool.stats().jobs_in_flight == 3)
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    short = asyncio.create_task(failure_types(_sleep(pool, 0, deadline=0.2)))
    await until(lambda: pool.stats().jobs_in_flight == 4)
    [kept] = [pid for pid in before if pid != await _killed_for(short, before)]
    os.kill(kept, signal.SIGCONT)
    assert await short == ("EngineTimeout",)
    await asyncio.gather(*jobs)
    await until(lambda: pool.stats().processes_alive == 2)
    assert set(before) & set(pool.stats().pids) == {kept}
    assert (pool.stats().kills, pool.stats().crashes) == (1, 0)


@pytest.mark.parametrize("how", ["stuck", "stopped"])
async def test_hung_process_fails_no_other_job(how: str) -> None:
    async with EnginePool(settings(hang_seconds=0.4), Egress()) as pool:
        before = pool.stats().pids
        others = [asyncio.create_task(_sleep(pool, 0.5)) for _ in range(3)]
        await until(lambda: pool.stats().jobs_in_flight == 3)
        if how == "stopped":
            os.kill(before[0], signal.SIGSTOP)
        else:
            assert await failure_types(extract(pool, "Stuck")) == ("EngineCrash",)
        await asyncio.gather(*others)
        await until(lambda: pool.stats().processes_alive == 2)
        assert len(set(before) & set(pool.stats().pids)) == 1
        assert pool.stats().crashes == 0


async def _killed_for(job: "asyncio.Task[Any]", pids: tuple[int, ...]) -> int:
    """Return the process that was killed because its job exceeded the deadline."""
    await asyncio.wait([job])
    await until(lambda: len(alive(pids)) == 1)
    [killed] = set(pids) - set(alive(pids))
    return killed


async def test_deadline_covers_all_attempts(pool: EnginePool) -> None:
    slow = asyncio.create_task(failure_types(_sleep(pool, 9, deadline=0.6)))
    await until(lambda: pool.stats().jobs_in_flight == 1)
    started = time.monotonic()
    for pid in pool.stats().pids:
        os.kill(pid, signal.SIGKILL)
    assert await slow == ("EngineTimeout",)
    assert time.monotonic() - started < 2


async def test_jobs_survive_the_loss_of_all_processes(pool: EnginePool) -> None:
    tasks = [asyncio.create_task(_sleep(pool, 0.3)) for _ in range(4)]
    await until(lambda: pool.stats().jobs_in_flight == 4)
    killed = pool.stats().pids
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    found = await asyncio.gather(*tasks)
    assert not {each["pid"] for each in found} & set(killed)
    await until(lambda: pool.stats().processes_alive == 2)
    assert (pool.stats().crashes, pool.stats().restarts) == (2, 2)


async def test_jobs_survive_the_loss_of_the_fork_server(pool: EnginePool) -> None:
    tasks = [asyncio.create_task(_sleep(pool, 0.3)) for _ in range(4)]
    await until(lambda: pool.stats().jobs_in_flight == 4)
    old = pool.stats()
    assert old.fork_server_pid is not None
    os.kill(old.fork_server_pid, signal.SIGKILL)
    await asyncio.gather(*tasks)
    await until(lambda: pool.stats().processes_alive == 2)
    assert pool.stats().fork_server_pid != old.fork_server_pid
    await until(lambda: not alive(old.pids), seconds=2)


async def test_replacing_a_process_is_quick(pool: EnginePool) -> None:
    times = []
    for count in range(3):
        os.kill(pool.stats().pids[0], signal.SIGKILL)
        started = time.perf_counter()
        await until(lambda wanted=count: pool.stats().restarts > wanted)  # type: ignore[misc]
        await until(lambda: pool.stats().processes_alive == 2)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.2


async def test_memory_limit_fails_one_job_only(small_pool: EnginePool) -> None:
    before = small_pool.stats().pids
    others = [asyncio.create_task(_sleep(small_pool, 0.3)) for _ in range(3)]
    await until(lambda: small_pool.stats().jobs_in_flight == 3)
    types = await failure_types(extract(small_pool, "Memory", bytes=300 * MEGABYTE))
    assert types == ("MemoryError",)
    await asyncio.gather(*others)
    assert (await extract(small_pool, "Memory", bytes=50 * MEGABYTE))["bytes"] == 50 * MEGABYTE
    await until(lambda: small_pool.stats().processes_alive == 2)
    assert len(set(before) & set(small_pool.stats().pids)) == 1


async def test_memory_leaked_by_native_code_fails_no_job(small_pool: EnginePool) -> None:
    before = small_pool.stats().pids
    leaked = (await extract(small_pool, "Leak"))["bytes"]
    assert leaked > 100 * MEGABYTE
    wanted = 80 * MEGABYTE
    found = await asyncio.gather(*(extract(small_pool, "Memory", bytes=wanted) for _ in range(4)))
    assert {each["bytes"] for each in found} == {wanted}
    await until(lambda: small_pool.stats().processes_alive == 2)
    assert len(set(before) & set(small_pool.stats().pids)) == 1


async def test_native_code_that_aborts_out_of_memory_fails_alone(
    small_pool: EnginePool,
) -> None:
    others = [asyncio.create_task(_sleep(small_pool, 0.3)) for _ in range(3)]
    await until(lambda: small_pool.stats().jobs_in_flight == 3)
    assert await failure_types(extract(small_pool, "Leak", abort=1)) == ("EngineCrash",)
    await asyncio.gather(*others)


async def test_process_is_recycled_after_its_job_limit() -> None:
    async with EnginePool(settings(processes=1, jobs_per_process_max=3), Egress()) as pool:
        found = [await extract(pool) for _ in range(7)]
        assert len({each["pid"] for each in found}) == 3
        stats = pool.stats()
        assert (stats.recycled, stats.restarts, stats.crashes, stats.kills) == (2, 2, 0, 0)
        await until(lambda: len(pool.stats().pids) == 1)


async def test_recycled_process_finishes_its_jobs_first() -> None:
    async with EnginePool(settings(processes=1, jobs_per_process_max=2), Egress()) as pool:
        slow = asyncio.create_task(_sleep(pool, 0.5))
        await until(lambda: pool.stats().jobs_in_flight == 1)
        quick = [await extract(pool), await extract(pool)]
        assert not slow.done()
        assert (await slow)["pid"] == quick[0]["pid"] != quick[1]["pid"]


async def test_waiting_time_counts_towards_the_deadline(pool: EnginePool) -> None:
    busy = [asyncio.create_task(_sleep(pool, 1)) for _ in range(4)]
    await until(lambda: pool.stats().jobs_in_flight == 4)
    assert await failure_types(extract(pool, seconds=0.1)) == ("EngineTimeout",)
    await asyncio.gather(*busy)
    assert pool.stats().kills == 0


async def test_cancelled_callers_leave_no_jobs(pool: EnginePool) -> None:
    tasks = [asyncio.create_task(_sleep(pool, 0.3)) for _ in range(8)]
    await until(lambda: pool.stats().jobs_in_flight == 4)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await extract(pool)
    await until(lambda: pool.stats().jobs_in_flight == 0)
    assert pool.stats().jobs_waiting == 0


async def test_concurrent_jobs_get_their_own_results(pool: EnginePool) -> None:
    found = await asyncio.gather(*(extract(pool, number=number) for number in range(50)))
    assert [each["id"] for each in found] == [f"test:?number={number}" for number in range(50)]


async def test_close_ends_all_processes_soon_and_fails_the_jobs() -> None:
    pool = EnginePool(SETTINGS, Egress())
    async with pool:
        stuck = [asyncio.create_task(failure_types(extract(pool, "Stuck"))) for _ in range(6)]
        await until(lambda: pool.stats().jobs_in_flight == 4)
        stats = pool.stats()
        started = time.monotonic()
    assert time.monotonic() - started < 2
    assert set(await asyncio.gather(*stuck)) == {("EngineClosed",)}
    await until(lambda: not alive((*stats.pids, stats.fork_server_pid or 1)), seconds=2)


async def test_closed_pool_rejects_jobs() -> None:
    assert await failure_types(extract(EnginePool(SETTINGS, Egress()))) == ("EngineClosed",)


async def test_two_pools_are_independent(pool: EnginePool) -> None:
    async with EnginePool(settings(processes=1), Egress()) as other:
        assert other.stats().fork_server_pid != pool.stats().fork_server_pid
    assert (await extract(pool))["pid"] in pool.stats().pids


async def test_start_timeout_is_an_error() -> None:
    with pytest.raises(EngineStartError):
        async with EnginePool(settings(start_timeout_seconds=0.01), Egress()):
            pass


def test_missing_ca_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ClipmillError) as caught:
        EnginePool(SETTINGS, Egress(ca_file=tmp_path / "ca.pem"))
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


@pytest.mark.parametrize("browser", ["1", ""], ids=["curl", "requests"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_is_refused(pool: EnginePool, host: str, browser: str) -> None:
    with serving() as web:
        url = f"http://{host}:{web.server_address[1]}/page"
        types = await failure_types(extract(pool, "Fetch", scheme=url, browser=browser))
        assert "AddressRefusedError" in types
        assert web.connections == 0


@pytest.mark.parametrize("browser", ["1", ""], ids=["curl", "requests"])
async def test_redirect_to_loopback_is_refused(browser: str) -> None:
    with serving() as proxy, serving() as inside:
        async with EnginePool(settings(processes=1), Egress(proxy=proxy.url)) as pool:
            query: dict[str, Any] = {"url": f"{inside.url}/page", "browser": browser, "direct": 1}
            types = await failure_types(extract(pool, "Fetch", scheme=f"{proxy.url}/to", **query))
        assert "AddressRefusedError" in types
        assert (len(proxy.paths), inside.connections) == (1, 0)


@pytest.mark.parametrize("browser", ["1", ""], ids=["curl", "requests"])
async def test_requests_go_through_the_proxy(browser: str) -> None:
    with serving() as proxy:
        async with EnginePool(settings(processes=1), Egress(proxy=proxy.url)) as pool:
            url = "http://somewhere.example/page"
            found = await extract(pool, "Fetch", scheme=url, browser=browser, bytes=9)
        assert found["bytes"] == 9
        assert proxy.paths[0].startswith(url)


async def test_processes_get_a_minimal_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("CLIPMILL_SECRET", "x")
    async with EnginePool(settings(processes=1), Egress()) as pool:
        found = await extract(pool)
    assert found["environment"]["YTDLP_NO_PLUGINS"] == "1"
    assert not {"http_proxy", "CLIPMILL_SECRET"} & set(found["environment"])


async def test_job_uses_the_egress_it_names() -> None:
    with serving() as one, serving() as two:
        egresses = Egress(name="a", proxy=one.url), Egress(name="b", proxy=two.url)
        async with EnginePool(settings(processes=1), *egresses) as pool:
            for egress in ("a", "b", "b"):
                job = EngineJob(
                    url="http://somewhere.example/page?bytes=9",
                    extractor=extractor_path("Fetch"),
                    egress=egress,
                )
                assert json.loads(bytes((await pool.extract(job)).raw))["bytes"] == 9
        assert (len(one.paths), len(two.paths)) == (1, 2)
