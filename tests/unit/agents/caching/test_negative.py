from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.caching.interface import CacheBackend
from agents.caching.negative import CACHED_SINCE, CachedFailure, NegativeCache, is_final
from agents.caching.row_expiry import CLOCK_SKEW_SECONDS
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.agents.builders import VIDEO, Clock
from tests.unit.agents.caching.backends import DictBackend
from tests.unit.agents.caching.reports import CountingReport

TTL_SECONDS = 600.0
NOW = 1_767_225_600.0
SINCE = datetime.fromtimestamp(NOW, UTC)
KEY = VIDEO.key
GONE = ClipmillError(ErrorCode.CONTENT_NOT_FOUND, "it is gone", status="10204")
SHARED_KEY = f"negative:{KEY}"


class NegativeCacheHarness:
    def __init__(
        self, shared: CacheBackend | None = None, ttl_seconds: float = TTL_SECONDS, **more: Any
    ) -> None:
        self.clock, self.report = Clock(NOW), CountingReport()
        self.memory = MemoryBackend(BoundedCache("negative", TTL_SECONDS, clock=self.clock))
        self.cache = NegativeCache(
            ttl_seconds,
            self.memory,
            shared=shared,
            clock=self.clock,
            report=self.report,
            **more,
        )


async def test_cached_failure_has_the_time_it_was_cached() -> None:
    harness = NegativeCacheHarness()
    assert await harness.cache.get(KEY) is None
    await harness.cache.put(KEY, GONE)
    harness.clock.now += 60
    found = await harness.cache.get(KEY)
    assert found is not None
    error = found.error()
    assert (error.code, error.message, str(error)) == (GONE.code, GONE.message, str(GONE))
    assert error.details == {"status": "10204", CACHED_SINCE: SINCE.isoformat()}
    assert error.permitted
    assert error.endpoint is None


@pytest.mark.parametrize(
    ("age", "is_known"), [(0.0, True), (TTL_SECONDS - 0.1, True), (TTL_SECONDS, False)]
)
@pytest.mark.parametrize("is_shared", [True, False])
async def test_failure_expires_after_its_ttl(age: float, is_known: bool, is_shared: bool) -> None:
    shared = DictBackend()
    harness = NegativeCacheHarness(shared if is_shared else None)
    await harness.cache.put(KEY, GONE)
    harness.clock.now += age
    assert (await harness.cache.get(KEY) is not None) is is_known


FINAL: list[tuple[ErrorCode, bool, bool]] = [
    (ErrorCode.CONTENT_NOT_FOUND, True, True),
    (ErrorCode.CONTENT_PRIVATE, True, True),
    (ErrorCode.CONTENT_UNSUPPORTED, True, True),
    (ErrorCode.CONTENT_LIVE_ENDED, True, True),
    (ErrorCode.CONTENT_LOGIN_REQUIRED, True, False),
    (ErrorCode.CONTENT_AGE_RESTRICTED, True, False),
]
"""Code, and whether it is final without and with an account."""


@pytest.mark.parametrize("code", ErrorCode)
async def test_only_final_failures_are_cached(code: ErrorCode) -> None:
    final = {each: (without, with_) for each, without, with_ in FINAL}.get(code, (False, False))
    for can_log_in, expected in zip((False, True), final, strict=True):
        harness = NegativeCacheHarness(
            can_log_in=lambda platform, able=can_log_in: able and platform == "tiktok"
        )
        await harness.cache.put(KEY, ClipmillError(code, "no"))
        assert (await harness.cache.get(KEY) is not None) is expected
        assert is_final(code, can_log_in=can_log_in) is expected


async def test_login_failure_is_a_miss_once_there_is_an_account() -> None:
    accounts: list[str] = []
    harness = NegativeCacheHarness(can_log_in=accounts.__contains__)
    await harness.cache.put(KEY, ClipmillError(ErrorCode.CONTENT_LOGIN_REQUIRED, "log in"))
    assert await harness.cache.get(KEY) is not None
    accounts.append("tiktok")
    assert await harness.cache.get(KEY) is None


async def test_delete_clears_memory_and_the_shared_backend() -> None:
    shared = DictBackend()
    harness = NegativeCacheHarness(shared)
    await harness.cache.put(KEY, GONE)
    await harness.cache.delete(KEY)
    assert shared.values == {}
    assert await harness.cache.get(KEY) is None


@pytest.mark.parametrize(("seconds", "is_known"), [(-1.0, True), (0.0, True), (1.0, False)])
async def test_failure_from_before_an_invalidation_is_a_miss(
    seconds: float, is_known: bool
) -> None:
    harness = NegativeCacheHarness(
        DictBackend(), invalidated_at={KEY: SINCE + timedelta(seconds=seconds)}.get
    )
    await harness.cache.put(KEY, GONE)
    assert (await harness.cache.get(KEY) is not None) is is_known


async def test_nothing_is_cached_with_a_ttl_of_zero() -> None:
    shared = DictBackend()
    harness = NegativeCacheHarness(shared, ttl_seconds=0)
    await harness.cache.put(KEY, GONE)
    assert await harness.cache.get(KEY) is None
    await harness.cache.delete(KEY)
    assert shared.calls == 0


# Shared backend


async def test_shared_failure_is_a_hit_for_other_workers() -> None:
    shared = DictBackend()
    one, other = NegativeCacheHarness(shared), NegativeCacheHarness(shared)
    await one.cache.put(KEY, GONE)
    assert shared.ttls == {SHARED_KEY: TTL_SECONDS}
    other.clock.now += 200
    assert await other.cache.get(KEY) is not None
    calls = shared.calls
    other.clock.now += TTL_SECONDS - 200.1
    assert await other.cache.get(KEY) is not None
    assert shared.calls == calls
    assert other.report.lookups == {
        ("negative", "memory", "miss"): 1,
        ("negative", "shared", "hit"): 1,
        ("negative", "memory", "hit"): 1,
    }
    other.clock.now += 0.1
    shared.values.clear()
    assert await other.cache.get(KEY) is None


PLAIN = CachedFailure(code=GONE.code, message="gone", since=SINCE, expires_at=NOW + TTL_SECONDS)

HOSTILE = {
    "nothing": b"",
    "no JSON": b"\xff",
    "another type": b"[]",
    "a code that is not final": encode(msgspec.structs.replace(PLAIN, code=ErrorCode.INTERNAL_BUG)),
    "an unknown code": encode(PLAIN).replace(b"content.not_found", b"content.gone"),
    "never expiring": encode(msgspec.structs.replace(PLAIN, expires_at=NOW + TTL_SECONDS + 1)),
    "expired": encode(msgspec.structs.replace(PLAIN, expires_at=NOW)),
    "from the future": encode(
        msgspec.structs.replace(PLAIN, since=SINCE + timedelta(seconds=CLOCK_SKEW_SECONDS + 1))
    ),
    "a long text": encode(msgspec.structs.replace(PLAIN, message="x" * 4_001)),
    "many details": encode(
        msgspec.structs.replace(PLAIN, details={str(number): "" for number in range(33)})
    ),
    "a long detail": encode(msgspec.structs.replace(PLAIN, details={"a": "x" * 4_001})),
    "a long name of a detail": encode(msgspec.structs.replace(PLAIN, details={"x" * 4_001: "a"})),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_invalid_shared_value_is_a_miss(name: str) -> None:
    shared = DictBackend()
    shared.values[SHARED_KEY] = HOSTILE[name]
    harness = NegativeCacheHarness(shared)
    assert await harness.cache.get(KEY) is None
    assert harness.report.lookups["negative", "shared", "miss"] == 1


async def test_shared_value_at_its_limits_is_a_hit() -> None:
    shared = DictBackend()
    details = {f"{number:04000}": "\U0001f600" * 4_000 for number in range(32)}
    since = SINCE + timedelta(seconds=CLOCK_SKEW_SECONDS)
    longest = msgspec.structs.replace(PLAIN, message="ü" * 4_000, details=details, since=since)
    shared.values[SHARED_KEY] = encode(longest)
    assert await NegativeCacheHarness(shared).cache.get(KEY) == longest


async def test_details_may_have_any_name() -> None:
    shared = DictBackend()
    details = {"code": "1", "message": "2", "retry_after": "3", "self": "4"}
    shared.values[SHARED_KEY] = encode(msgspec.structs.replace(PLAIN, details=details))
    found = await NegativeCacheHarness(shared).cache.get(KEY)
    assert found is not None
    assert found.error().details.items() >= details.items()
