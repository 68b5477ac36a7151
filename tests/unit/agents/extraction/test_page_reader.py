import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.access.rate_limits import ONE_REQUEST, Cost
from agents.accounts.interface import Account, AccountStatus, AccountUse
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult
from agents.extraction.page_reader import PageReader
from agents.platforms.registry import Platforms
from schemas.attempts import NetworkAttempt
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.job import Job
from schemas.listing import ListingRef
from schemas.signals import BreakerState
from schemas.video import Cookie, Extraction
from streams.media_host_waits import MediaHostWaits
from streams.observability.metrics import REGISTRY
from streams.records import Outgoing
from tests.unit.agents.accounts.sessions import SECRET, FakeAccount, cookie
from tests.unit.agents.builders import (
    VIDEO,
    WRITTEN_AT,
    body_of,
    make_context,
    make_extraction,
    make_gate,
    make_job,
    make_settings,
)
from tests.unit.agents.platforms.tiktok.extractions import TOKEN, VERSIONS

PLATFORMS = Platforms.load()
RENEWED = cookie(value="n3w")

LOGIN_WALL = EngineFailure(
    types=("ExtractorError",), message="TikTok is requiring login for access to this content"
)
RATE_LIMITED = EngineFailure(types=("HTTPError",), message="429", status=429, retry_after="30")
BLOCKED = EngineFailure(types=("HTTPError",), message="403", status=403)


class FakeEngine:
    def __init__(self, *failures: EngineFailure) -> None:
        self.failures = list(failures)
        self.jobs: list[EngineJob] = []
        self.raw = make_extraction().raw

    async def extract(self, job: EngineJob) -> EngineResult:
        self.jobs.append(job)
        if self.failures:
            raise EngineError(self.failures.pop(0))
        cookies = (TOKEN, RENEWED, cookie("another", "a secret too"))
        return EngineResult(raw=self.raw, cookies=cookies, versions=VERSIONS)


class FakeAuthenticator:
    def __init__(self, *accounts: FakeAccount, error: ClipmillError | None = None) -> None:
        self.available = list(accounts)
        self.error = error
        self.avoided: list[tuple[str, ...]] = []
        self.recorded: list[tuple[str, str, AccountUse]] = []

    def accounts(self, platform: str) -> tuple[str, ...]:
        return tuple(each.name for each in self.available) if platform == VIDEO.platform else ()

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> Account | None:
        self.avoided.append(tuple(avoid))
        if self.error is not None:
            raise self.error
        return self.available[0] if platform == VIDEO.platform and self.available else None

    def record_use(self, platform: str, account: Account, use: AccountUse) -> None:
        self.recorded.append((platform, account.name, use))

    def health_report(self) -> Sequence[AccountStatus]:
        return []

    async def close(self) -> None:
        self.available.clear()


class PageReaderHarness:
    def __init__(
        self,
        *failures: EngineFailure,
        account: bool = True,
        error: ClipmillError | None = None,
        always: bool = False,
    ) -> None:
        self.engine = FakeEngine(*failures)
        self.account = FakeAccount("main", (cookie(),), [])
        self.authenticator = FakeAuthenticator(*([self.account] * account), error=error)
        self.context, self.sent = make_context(make_settings())
        self.reader = PageReader(
            PLATFORMS,
            self.engine,
            gate=make_gate("extract", self.context),
            authenticator=self.authenticator,
            deadline_seconds=30,
            waits=MediaHostWaits(),
            always=always,
            login_seconds=0.02,
        )

    async def read(self, **job: Any) -> Extraction:
        return await self.reader.read(VIDEO, make_job(**job))

    async def read_error(self, **job: Any) -> ClipmillError:
        with pytest.raises(ClipmillError) as caught:
            await self.read(**job)
        return caught.value

    @property
    def use(self) -> AccountUse:
        ((platform, name, use),) = self.authenticator.recorded
        assert (platform, name) == ("tiktok", "main")
        return use

    @property
    def sent_cookies(self) -> list[tuple[Cookie, ...]]:
        return [job.cookies for job in self.engine.jobs]


def use_count(outcome: str) -> float:
    labels = {"platform": "tiktok", "account": "main", "outcome": outcome}
    return REGISTRY.get_sample_value("clipmill_account_uses_total", labels) or 0.0


async def test_page_is_read_anonymously() -> None:
    harness = PageReaderHarness()
    assert (await harness.read()).cookies
    assert harness.sent_cookies == [()]
    assert (harness.authenticator.avoided, harness.authenticator.recorded) == ([], [])


async def test_page_is_read_with_an_account_when_required() -> None:
    harness, before = PageReaderHarness(), use_count("success")
    found = await harness.read(authenticate=True, avoid_accounts=("spare",))
    assert harness.sent_cookies == [(cookie(),)]
    assert harness.authenticator.avoided == [("spare",)]
    assert harness.use == AccountUse(subject=VIDEO.key, login_required=True)
    assert use_count("success") == before + 1
    assert found.cookies == (TOKEN,)


async def test_renewed_cookies_go_to_the_account_only() -> None:
    harness = PageReaderHarness()
    found = await harness.read(authenticate=True)
    assert RENEWED in harness.account.renewals
    assert {each.name for each in found.cookies} == {TOKEN.name}
    assert SECRET.encode() not in encode(found)
    assert b"n3w" not in encode(found)


async def test_page_is_read_anonymously_without_an_account() -> None:
    harness = PageReaderHarness(account=False)
    await harness.read(authenticate=True)
    assert harness.sent_cookies == [()]
    assert harness.authenticator.recorded == []


async def test_error_details_say_that_no_account_can_be_used() -> None:
    error = await PageReaderHarness(LOGIN_WALL, account=False).read_error(authenticate=True)
    assert (error.code, error.account) == (ErrorCode.CONTENT_LOGIN_REQUIRED, None)
    assert error.details["account"] == "none can be used"
    assert "account" not in (await PageReaderHarness(LOGIN_WALL).read_error()).details


ACCOUNT_FAILURES = {
    "login wall": (LOGIN_WALL, ErrorCode.CONTENT_LOGIN_REQUIRED, "refused", None),
    "rate limit": (RATE_LIMITED, ErrorCode.RATE_LIMIT_ACCOUNT, "limited", 30.0),
    "IP block": (BLOCKED, ErrorCode.RATE_LIMIT_IP_BLOCK, "other", None),
}


@pytest.mark.parametrize(
    ("failure", "code", "outcome", "retry_after"), ACCOUNT_FAILURES.values(), ids=ACCOUNT_FAILURES
)
async def test_failure_with_an_account_is_recorded(
    failure: EngineFailure, code: ErrorCode, outcome: str, retry_after: float | None
) -> None:
    harness, before = PageReaderHarness(failure), use_count(outcome)
    error = await harness.read_error(authenticate=True)
    assert (error.code, error.account, error.details["account"]) == (code, "main", "main")
    assert error.endpoint is not None
    assert harness.use == AccountUse(
        subject=VIDEO.key, login_required=True, code=code, retry_after=retry_after
    )
    assert use_count(outcome) == before + 1
    (attempt,) = [each for each in harness.sent if isinstance(each, Outgoing)]
    assert body_of(attempt, NetworkAttempt).code is code


async def test_rate_limit_without_an_account_concerns_the_address() -> None:
    error = await PageReaderHarness(RATE_LIMITED).read_error()
    assert (error.code, error.account) == (ErrorCode.RATE_LIMIT_API, None)


async def test_not_permitted_read_records_no_account_use() -> None:
    harness = PageReaderHarness()
    state = BreakerState(
        platform="tiktok",
        operation="extract",
        egress="direct",
        state="forced_open",
        since=WRITTEN_AT,
    )
    harness.context.shared_state.put(f"breaker/{state.name}", encode(state))
    error = await harness.read_error(authenticate=True)
    assert (error.permitted, error.account) == (False, None)
    assert (harness.authenticator.recorded, harness.engine.jobs) == ([], [])


async def _never_returning_log_in(_platform: str, *, avoid: Collection[str] = ()) -> Account | None:
    await asyncio.Event().wait()
    return FakeAccount(str(avoid), (), [])


async def test_login_timeout_is_not_permitted_and_has_retry_after() -> None:
    harness = PageReaderHarness()
    harness.authenticator.log_in = _never_returning_log_in  # type: ignore[method-assign,assignment]
    error = await asyncio.wait_for(harness.read_error(authenticate=True), 5)
    assert (error.code, error.permitted) == (ErrorCode.SYSTEM_CONFIG, False)
    assert error.retry_after
    assert not harness.engine.jobs


async def test_optional_account_is_not_awaited() -> None:
    harness = PageReaderHarness(always=True)
    harness.authenticator.log_in = _never_returning_log_in  # type: ignore[method-assign,assignment]
    await asyncio.wait_for(harness.read(), 5)
    assert harness.sent_cookies == [()]


# Listings

PROFILE = ListingRef(platform="tiktok", kind="profile", id="u", url="https://www.tiktok.com/@u")


async def test_listing_is_read_with_an_account() -> None:
    harness = PageReaderHarness()
    harness.engine.raw = msgspec.Raw(encode({"_type": "playlist", "entries": [{"url": VIDEO.url}]}))
    found = await harness.reader.list_posts(PROFILE, make_job(authenticate=True), 5)
    assert [each.id for each in found.entries] == [VIDEO.id]
    assert harness.sent_cookies == [(cookie(),)]
    assert harness.use == AccountUse(subject="tiktok:profile/u", login_required=True)
    assert RENEWED in harness.account.renewals


@pytest.mark.parametrize(("left", "most"), [(7, 7), (3_600, 30), (-5, 1)])
async def test_page_deadline_is_the_time_left(left: float, most: float) -> None:
    harness = PageReaderHarness()
    await harness.read(deadline=datetime.now(UTC) + timedelta(seconds=left))
    assert 0 <= most - harness.engine.jobs[0].deadline_seconds < 1


@pytest.mark.parametrize(("limit", "seconds"), [(15, 31), (150, 40), (1_000, 30 + 1_000 / 15)])
async def test_long_listing_has_a_longer_deadline(limit: int, seconds: float) -> None:
    harness = PageReaderHarness()
    harness.engine.raw = msgspec.Raw(encode({"_type": "playlist", "entries": []}))
    await harness.reader.list_posts(PROFILE, make_job(), limit)
    assert harness.engine.jobs[0].deadline_seconds == pytest.approx(seconds)


async def test_listing_costs_one_request_per_page() -> None:
    harness = PageReaderHarness()
    harness.engine.raw = msgspec.Raw(encode({"_type": "playlist", "entries": []}))
    costs: list[Cost] = []
    run = harness.reader._gate.run

    async def record_cost(*args: Any, cost: Cost, **fields: Any) -> Any:
        costs.append(cost)
        return await run(*args, cost=cost, **fields)

    harness.reader._gate.run = record_cost  # type: ignore[method-assign,assignment]
    await harness.reader.list_posts(PROFILE, make_job(), 150)
    with pytest.raises(ClipmillError):
        await harness.read()
    assert costs == [Cost(requests=11.0, is_list=True), ONE_REQUEST]


# An account for every page


async def test_every_page_is_read_with_an_account_when_configured() -> None:
    harness = PageReaderHarness(always=True)
    await harness.read()
    assert harness.sent_cookies == [(cookie(),)]
    assert harness.use == AccountUse(subject=VIDEO.key, login_required=False)


def accounts_limited() -> ClipmillError:
    error = ClipmillError(ErrorCode.RATE_LIMIT_ACCOUNT, "all rest", retry_after=60.0)
    error.permitted = False
    return error


LIMITED_ACCOUNTS: list[tuple[bool, dict[str, bool], bool]] = [
    (True, {}, True),
    (True, {"authenticate": True}, False),
    (False, {"authenticate": True}, False),
]


@pytest.mark.parametrize(("always", "job", "is_read"), LIMITED_ACCOUNTS)
async def test_limited_accounts_delay_only_jobs_that_require_one(
    always: bool, job: dict[str, Any], is_read: bool
) -> None:
    harness = PageReaderHarness(error=accounts_limited(), always=always)
    if is_read:
        await harness.read(**job)
        assert harness.sent_cookies == [()]
        return
    error = await harness.read_error(**job)
    assert (error.permitted, error.retry_after, error.endpoint) == (False, 60.0, None)
    assert harness.engine.jobs == []


@pytest.mark.parametrize("job", [make_job(), make_job(authenticate=True)])
async def test_unusable_accounts_are_an_error(job: Job) -> None:
    wrong = ClipmillError(ErrorCode.SYSTEM_CONFIG, "no cookie file")
    harness = PageReaderHarness(error=wrong, always=True)
    with pytest.raises(ClipmillError) as caught:
        await harness.reader.read(VIDEO, job)
    assert caught.value is wrong
    assert harness.engine.jobs == []
