from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.caching.interface import CacheBackend
from agents.caching.negative import REMEMBERED_SINCE, NegativeCache, Remembered, is_final
from agents.caching.row_expiry import CLOCKS_APART_SECONDS
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.agents.builders import VIDEO, Clock
from tests.unit.agents.caching.backends import Dictionary
from tests.unit.agents.caching.reports import Told

LIFE = 600.0
NOW = 1_767_225_600.0
SINCE = datetime.fromtimestamp(NOW, UTC)
KEY = VIDEO.key
GONE = ClipmillError(ErrorCode.CONTENT_NOT_FOUND, "it is gone", status="10204")
PLACE = f"negative:{KEY}"


class Kit:
    def __init__(
        self, shared: CacheBackend | None = None, life_seconds: float = LIFE, **more: Any
    ) -> None:
        self.clock, self.told = Clock(NOW), Told()
        self.memory = MemoryBackend(BoundedCache("negative", LIFE, clock=self.clock))
        self.cache = NegativeCache(
            life_seconds,
            self.memory,
            shared=shared,
            clock=self.clock,
            report=self.told,
            **more,
        )


async def test_a_failure_is_told_again_with_the_time_it_is_from() -> None:
    kit = Kit()
    assert await kit.cache.get(KEY) is None
    await kit.cache.note(KEY, GONE)
    kit.clock.now += 60
    found = await kit.cache.get(KEY)
    assert found is not None
    error = found.error()
    assert (error.code, error.message, str(error)) == (GONE.code, GONE.message, str(GONE))
    assert error.details == {"status": "10204", REMEMBERED_SINCE: SINCE.isoformat()}
    assert error.permitted
    assert error.place is None


@pytest.mark.parametrize(("age", "is_known"), [(0.0, True), (LIFE - 0.1, True), (LIFE, False)])
@pytest.mark.parametrize("is_shared", [True, False])
async def test_it_has_its_life(age: float, is_known: bool, is_shared: bool) -> None:
    shared = Dictionary()
    kit = Kit(shared if is_shared else None)
    await kit.cache.note(KEY, GONE)
    kit.clock.now += age
    assert (await kit.cache.get(KEY) is not None) is is_known


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
async def test_only_what_is_final_is_remembered(code: ErrorCode) -> None:
    final = {each: (without, with_) for each, without, with_ in FINAL}.get(code, (False, False))
    for can_log_in, expected in zip((False, True), final, strict=True):
        kit = Kit(can_log_in=lambda platform, able=can_log_in: able and platform == "tiktok")
        await kit.cache.note(KEY, ClipmillError(code, "no"))
        assert (await kit.cache.get(KEY) is not None) is expected
        assert is_final(code, can_log_in=can_log_in) is expected


async def test_what_an_account_could_open_is_asked_again_once_there_is_one() -> None:
    accounts: list[str] = []
    kit = Kit(can_log_in=accounts.__contains__)
    await kit.cache.note(KEY, ClipmillError(ErrorCode.CONTENT_LOGIN_REQUIRED, "log in"))
    assert await kit.cache.get(KEY) is not None
    accounts.append("tiktok")
    assert await kit.cache.get(KEY) is None


async def test_success_clears_it_everywhere() -> None:
    shared = Dictionary()
    kit = Kit(shared)
    await kit.cache.note(KEY, GONE)
    await kit.cache.forget(KEY)
    assert shared.values == {}
    assert await kit.cache.get(KEY) is None


@pytest.mark.parametrize(("seconds", "is_known"), [(-1.0, True), (0.0, True), (1.0, False)])
async def test_what_was_said_before_a_refresh_is_not_believed(
    seconds: float, is_known: bool
) -> None:
    kit = Kit(Dictionary(), refreshed={KEY: SINCE + timedelta(seconds=seconds)}.get)
    await kit.cache.note(KEY, GONE)
    assert (await kit.cache.get(KEY) is not None) is is_known


async def test_nothing_is_remembered_when_it_is_off() -> None:
    shared = Dictionary()
    kit = Kit(shared, life_seconds=0)
    await kit.cache.note(KEY, GONE)
    assert await kit.cache.get(KEY) is None
    await kit.cache.forget(KEY)
    assert shared.calls == 0


# Shared


async def test_what_one_worker_was_told_the_next_knows() -> None:
    shared = Dictionary()
    one, other = Kit(shared), Kit(shared)
    await one.cache.note(KEY, GONE)
    assert shared.lives == {PLACE: LIFE}
    other.clock.now += 200
    assert await other.cache.get(KEY) is not None
    asked = shared.calls
    other.clock.now += LIFE - 200.1
    assert await other.cache.get(KEY) is not None
    assert shared.calls == asked
    assert other.told.lookups == {
        ("negative", "memory", "miss"): 1,
        ("negative", "shared", "hit"): 1,
        ("negative", "memory", "hit"): 1,
    }
    other.clock.now += 0.1
    shared.values.clear()
    assert await other.cache.get(KEY) is None


PLAIN = Remembered(code=GONE.code, message="gone", since=SINCE, expires_at=NOW + LIFE)

HOSTILE = {
    "nothing": b"",
    "no JSON": b"\xff",
    "another type": b"[]",
    "a code of ours that is not final": encode(
        msgspec.structs.replace(PLAIN, code=ErrorCode.INTERNAL_BUG)
    ),
    "no code of ours": encode(PLAIN).replace(b"content.not_found", b"content.gone"),
    "for ever": encode(msgspec.structs.replace(PLAIN, expires_at=NOW + LIFE + 1)),
    "over": encode(msgspec.structs.replace(PLAIN, expires_at=NOW)),
    "from the future": encode(
        msgspec.structs.replace(PLAIN, since=SINCE + timedelta(seconds=CLOCKS_APART_SECONDS + 1))
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
async def test_what_cannot_be_ours_is_not_believed(name: str) -> None:
    shared = Dictionary()
    shared.values[PLACE] = HOSTILE[name]
    kit = Kit(shared)
    assert await kit.cache.get(KEY) is None
    assert kit.told.lookups["negative", "shared", "miss"] == 1


async def test_what_is_as_long_as_it_may_be_is_believed() -> None:
    shared = Dictionary()
    details = {f"{number:04000}": "\U0001f600" * 4_000 for number in range(32)}
    since = SINCE + timedelta(seconds=CLOCKS_APART_SECONDS)
    longest = msgspec.structs.replace(PLAIN, message="ü" * 4_000, details=details, since=since)
    shared.values[PLACE] = encode(longest)
    assert await Kit(shared).cache.get(KEY) == longest


async def test_details_may_have_any_name() -> None:
    shared = Dictionary()
    details = {"code": "1", "message": "2", "retry_after": "3", "self": "4"}
    shared.values[PLACE] = encode(msgspec.structs.replace(PLAIN, details=details))
    found = await Kit(shared).cache.get(KEY)
    assert found is not None
    assert found.error().details.items() >= details.items()
