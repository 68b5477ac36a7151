"""The caches on a real Redis: shared by workers, and bypassed when it fails."""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import pytest_asyncio

from agents.caching.fail_safe_backend import VALUE_BYTES_MAX, FailSafeBackend
from agents.caching.interface import GROUP, BackendSettings, CacheBackend, find_backend
from agents.caching.redis_backend import CONNECTIONS_MAX, open_redis
from agents.extraction.agent import MEMORY_SHARES
from agents.pipeline import stage_caches as caches_module
from agents.pipeline.stage_caches import StageCaches, open_caches
from schemas.errors import ClipmillError, ErrorCode
from tests.conftest import NetworkGuard
from tests.integration.redis_server import RedisServer, redis_binary, running_redis
from tests.unit.agents.builders import VIDEO, make_context, make_extraction, make_settings

GONE = ClipmillError(ErrorCode.CONTENT_NOT_FOUND, "gone")
REDIS = EntryPoint("redis", "agents.caching.redis_backend:open_redis", GROUP)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short name: the path of a Unix socket has at most 100 characters."""
    path = Path(tempfile.mkdtemp(prefix="redis-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def binary(folder: Path, network_guard: NetworkGuard) -> Path:
    with network_guard.disarmed():
        return redis_binary(folder)


@pytest_asyncio.fixture
async def server(binary: Path, folder: Path) -> AsyncIterator[RedisServer]:
    async with running_redis(binary, folder) as running:
        yield running


@asynccontextmanager
async def unguarded(url: str) -> AsyncIterator[CacheBackend]:
    async with open_redis(BackendSettings(url, 1.0)) as backend:
        yield backend


@asynccontextmanager
async def guarded(
    url: str, seconds: float = 0.2
) -> AsyncIterator[tuple[FailSafeBackend, list[str]]]:
    outcomes: list[str] = []
    async with open_redis(BackendSettings(url, seconds)) as backend:
        yield (
            FailSafeBackend(
                backend,
                "redis",
                timeout_seconds=seconds,
                open_seconds=0.05,
                report=lambda _operation, outcome: outcomes.append(outcome),
            ),
            outcomes,
        )


# The backend itself


async def test_value_is_stored_replaced_and_deleted(server: RedisServer) -> None:
    async with unguarded(server.url) as backend:
        assert await backend.get("a") is None
        await backend.set("a", b"\x00\xff1", 60)
        assert await backend.get("a") == b"\x00\xff1"
        await backend.set("a", b"2", 60)
        assert await backend.get("a") == b"2"
        for _ in range(2):
            await backend.delete("a")
        assert await backend.get("a") is None


async def test_value_expires_after_its_ttl(server: RedisServer) -> None:
    async with unguarded(server.url) as backend:
        await backend.set("short", b"1", 0.05)
        await backend.set("shorter than a millisecond", b"1", 0.000_1)
        await backend.set("long", b"1", 60)
        await asyncio.sleep(0.1)
        assert await backend.get("short") is None
        assert await backend.get("shorter than a millisecond") is None
        assert await backend.get("long") == b"1"


async def test_oversized_value_is_truncated_by_the_server(server: RedisServer) -> None:
    async with unguarded(server.url) as backend, guarded(server.url, 5.0) as (limited, _):
        await backend.set("huge", bytes(3 * VALUE_BYTES_MAX), 60)
        assert len(await backend.get("huge") or b"") == VALUE_BYTES_MAX + 1
        assert await limited.get("huge") is None


async def test_calls_beyond_the_connection_pool_wait(server: RedisServer) -> None:
    async with unguarded(server.url) as backend:
        await backend.set("a", b"1", 60)
        found = await asyncio.gather(*(backend.get("a") for _ in range(20 * CONNECTIONS_MAX)))
    assert set(found) == {b"1"}


# Failures


async def test_stopped_server_is_bypassed_and_used_again_after_its_restart(
    server: RedisServer,
) -> None:
    async with guarded(server.url) as (backend, outcomes):
        await backend.set("a", b"1", 60)
        await server.stop()
        assert [await backend.get("a") for _ in range(3)] == [None] * 3
        assert outcomes == ["ok", "error", "skipped", "skipped"]
        await server.start()
        await asyncio.sleep(0.06)
        await backend.set("a", b"2", 60)
        assert await backend.get("a") == b"2"


async def test_hanging_server_times_out_one_call(server: RedisServer) -> None:
    async with guarded(server.url) as (backend, outcomes):
        await backend.set("a", b"1", 60)
        server.signal(signal.SIGSTOP)
        started = time.monotonic()
        assert [await backend.get("a") for _ in range(3)] == [None] * 3
        assert time.monotonic() - started < 2
        assert outcomes == ["ok", "timeout", "skipped", "skipped"]
        server.signal(signal.SIGCONT)
        await asyncio.sleep(0.06)
        # The late response to the call that timed out reaches no other call.
        await backend.set("b", b"2", 60)
        assert (await backend.get("b"), await backend.get("a")) == (b"2", b"1")


async def test_missing_server_is_bypassed(folder: Path) -> None:
    async with guarded(f"unix://{folder}/nothing.sock") as (backend, outcomes):
        assert await backend.get("a") is None
        await backend.set("a", b"1", 60)
    assert outcomes == ["error", "skipped"]


@pytest.mark.parametrize("login", ["", ":wrong@"], ids=["none", "wrong"])
async def test_server_with_another_password_is_bypassed(
    login: str, binary: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_redis(binary, folder, "--requirepass", "s3cret") as server:
        address = server.url.removeprefix("unix://")
        async with guarded(f"unix://{login}{address}") as (backend, outcomes):
            await backend.set("a", b"1", 60)
            assert await backend.get("a") is None
        assert outcomes == ["error", "skipped"]
        async with guarded(f"unix://:s3cret@{address}") as (backend, outcomes):
            await backend.set("a", b"1", 60)
            assert await backend.get("a") == b"1"
        assert outcomes == ["ok", "ok"]
    assert "wrong" not in caplog.text


async def test_full_server_is_bypassed(binary: Path, folder: Path) -> None:
    async with (
        running_redis(binary, folder, "--maxmemory", "1mb") as server,
        guarded(server.url, 5.0) as (backend, outcomes),
    ):
        await backend.set("a", bytes(2 * 2**20), 60)
        assert await backend.get("a") is None
    assert outcomes == ["error", "skipped"]


# Two workers


@asynccontextmanager
async def worker(name: str, url: str) -> AsyncIterator[StageCaches]:
    """The caches of a separate worker: tables, memory and connections."""
    context, _ = make_context(make_settings(cache={"backend": "redis", "redis_url": url}))
    async with open_caches(name, context, MEMORY_SHARES) as caches:
        yield caches


@pytest.fixture(autouse=True)
def _redis_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches_module, "find_backend", lambda name: find_backend(name, [REDIS]))


async def test_cached_values_are_shared_between_workers(server: RedisServer) -> None:
    tables = [make_context(make_settings(), "t")[0].tables["t"] for _ in range(2)]
    async with worker("one", server.url) as one, worker("other", server.url) as other:
        first, second = one.video_info(tables[0]), other.video_info(tables[1])
        row = await first.put(VIDEO.key, make_extraction(), None)
        found = await second.get(VIDEO.key)
        assert found is not None
        assert (found.row, found.extraction) == (row, make_extraction())
        await second.drop(VIDEO.key)
        third = one.video_info(tables[0])
        assert await third.get(VIDEO.key) is None

        negative, other_negative = one.negative(lambda _: False), other.negative(lambda _: False)
        await negative.put(VIDEO.key, GONE)
        failure = await other_negative.get(VIDEO.key)
        assert failure is not None
        assert failure.code is GONE.code
        await other_negative.delete(VIDEO.key)
        assert await one.negative(lambda _: False).get(VIDEO.key) is None


async def test_caches_work_without_the_server(server: RedisServer) -> None:
    table = make_context(make_settings(), "t")[0].tables["t"]
    async with worker("one", server.url) as caches:
        cache, failures = caches.video_info(table), caches.negative(lambda _: False)
        await server.stop()
        assert await cache.get(VIDEO.key) is None
        assert await cache.put(VIDEO.key, make_extraction(), None)
        await failures.put("tiktok:gone", GONE)
        assert await failures.get("tiktok:gone") is not None
        await cache.drop(VIDEO.key)
