import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.access.rate_limits import ONE_REQUEST, Cost
from agents.accounts.interface import Account, Standing, Use
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
from streams.observability.metrics import REGISTRY
from streams.records import Outgoing
from tests.unit.agents.accounts.sessions import SECRET, GivenAccount, cookie
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
from tests.unit.agents.platforms.tiktok.raws import TOKEN, VERSIONS

PLATFORMS = Platforms.load()
NEW = cookie(value="n3w")

LOGIN_WALL = EngineFailure(
    types=("ExtractorError",), message="TikTok is requiring login for access to this content"
)
TOO_MANY = EngineFailure(types=("HTTPError",), message="429", status=429, retry_after="30")
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
        cookies = (TOKEN, NEW, cookie("another", "a secret too"))
        return EngineResult(raw=self.raw, cookies=cookies, versions=VERSIONS)


class FakeAuthenticator:
    def __init__(self, *accounts: GivenAccount, error: ClipmillError | None = None) -> None:
        self.lent = list(accounts)
        self.error = error
        self.avoided: list[tuple[str, ...]] = []
        self.told: list[tuple[str, str, Use]] = []

    def accounts(self, platform: str) -> tuple[str, ...]:
        return tuple(each.name for each in self.lent) if platform == VIDEO.platform else ()

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> Account | None:
        self.avoided.append(tuple(avoid))
        if self.error is not None:
            raise self.error
        return self.lent[0] if platform == VIDEO.platform and self.lent else None

    def tell(self, platform: str, account: Account, use: Use) -> None:
        self.told.append((platform, account.name, use))

    def health_report(self) -> Sequence[Standing]:
        return []

    async def close(self) -> None:
        self.lent.clear()


class Kit:
    def __init__(
        self,
        *failures: EngineFailure,
        account: bool = True,
        error: ClipmillError | None = None,
        always: bool = False,
    ) -> None:
        self.engine = FakeEngine(*failures)
        self.account = GivenAccount("main", (cookie(),), [])
        self.authenticator = FakeAuthenticator(*([self.account] * account), error=error)
        self.context, self.sent = make_context(make_settings())
        self.reader = PageReader(
            PLATFORMS,
            self.engine,
            gate=make_gate("extract", self.context),
            authenticator=self.authenticator,
            deadline_seconds=30,
            always=always,
            login_seconds=0.02,
        )

    async def read(self, **job: Any) -> Extraction:
        return await self.reader.read(VIDEO, make_job(**job))

    async def fail(self, **job: Any) -> ClipmillError:
        with pytest.raises(ClipmillError) as caught:
            await self.read(**job)
        return caught.value

    @property
    def use(self) -> Use:
        ((platform, name, use),) = self.authenticator.told
        assert (platform, name) == ("tiktok", "main")
        return use

    @property
    def sent_cookies(self) -> list[tuple[Cookie, ...]]:
        return [job.cookies for job in self.engine.jobs]


def uses(outcome: str) -> float:
    labels = {"platform": "tiktok", "account": "main", "outcome": outcome}
    return REGISTRY.get_sample_value("clipmill_account_uses_total", labels) or 0.0


async def test_a_page_is_read_as_nobody() -> None:
    kit = Kit()
    assert (await kit.read()).cookies
    assert kit.sent_cookies == [()]
    assert (kit.authenticator.avoided, kit.authenticator.told) == ([], [])


async def test_a_page_is_read_with_an_account_where_that_is_needed() -> None:
    kit, before = Kit(), uses("success")
    found = await kit.read(authenticate=True, avoid_accounts=("spare",))
    assert kit.sent_cookies == [(cookie(),)]
    assert kit.authenticator.avoided == [("spare",)]
    assert kit.use == Use(subject=VIDEO.key, needed=True)
    assert uses("success") == before + 1
    assert found.cookies == (TOKEN,)


async def test_what_the_page_sets_anew_goes_to_the_account_and_nowhere_else() -> None:
    kit = Kit()
    found = await kit.read(authenticate=True)
    assert NEW in kit.account.renewals
    assert {each.name for each in found.cookies} == {TOKEN.name}
    assert SECRET.encode() not in encode(found)
    assert b"n3w" not in encode(found)


async def test_without_an_account_a_page_is_read_as_nobody() -> None:
    kit = Kit(account=False)
    await kit.read(authenticate=True)
    assert kit.sent_cookies == [()]
    assert kit.authenticator.told == []


async def test_that_no_account_could_be_used_is_told() -> None:
    error = await Kit(LOGIN_WALL, account=False).fail(authenticate=True)
    assert (error.code, error.account) == (ErrorCode.CONTENT_LOGIN_REQUIRED, None)
    assert error.details["account"] == "none can be used"
    assert "account" not in (await Kit(LOGIN_WALL).fail()).details


ENDINGS = {
    "a wall": (LOGIN_WALL, ErrorCode.CONTENT_LOGIN_REQUIRED, "refused", None),
    "a limit": (TOO_MANY, ErrorCode.RATE_LIMIT_ACCOUNT, "limited", 30.0),
    "a block": (BLOCKED, ErrorCode.RATE_LIMIT_IP_BLOCK, "other", None),
}


@pytest.mark.parametrize(("failure", "code", "outcome", "after"), ENDINGS.values(), ids=ENDINGS)
async def test_a_failure_with_an_account_is_told(
    failure: EngineFailure, code: ErrorCode, outcome: str, after: float | None
) -> None:
    kit, before = Kit(failure), uses(outcome)
    error = await kit.fail(authenticate=True)
    assert (error.code, error.account, error.details["account"]) == (code, "main", "main")
    assert error.place is not None
    assert kit.use == Use(subject=VIDEO.key, needed=True, code=code, retry_after=after)
    assert uses(outcome) == before + 1
    (attempt,) = [each for each in kit.sent if isinstance(each, Outgoing)]
    assert body_of(attempt, NetworkAttempt).code is code


async def test_a_limit_without_an_account_is_the_addresss() -> None:
    error = await Kit(TOO_MANY).fail()
    assert (error.code, error.account) == (ErrorCode.RATE_LIMIT_API, None)


async def test_what_was_not_permitted_says_nothing_about_an_account() -> None:
    kit = Kit()
    state = BreakerState(
        platform="tiktok",
        operation="extract",
        egress="direct",
        state="forced_open",
        since=WRITTEN_AT,
    )
    kit.context.signals.put(f"breaker/{state.name}", encode(state))
    error = await kit.fail(authenticate=True)
    assert (error.permitted, error.account) == (False, None)
    assert (kit.authenticator.told, kit.engine.jobs) == ([], [])


async def _never(_platform: str, *, avoid: Collection[str] = ()) -> Account | None:
    await asyncio.Event().wait()
    return GivenAccount(str(avoid), (), [])


async def test_accounts_that_are_not_at_hand_are_waited_for_in_kafka() -> None:
    kit = Kit()
    kit.authenticator.log_in = _never  # type: ignore[method-assign,assignment]
    error = await asyncio.wait_for(kit.fail(authenticate=True), 5)
    assert (error.code, error.permitted) == (ErrorCode.SYSTEM_CONFIG, False)
    assert error.retry_after
    assert not kit.engine.jobs


async def test_who_needs_no_account_does_not_wait_for_one() -> None:
    kit = Kit(always=True)
    kit.authenticator.log_in = _never  # type: ignore[method-assign,assignment]
    await asyncio.wait_for(kit.read(), 5)
    assert kit.sent_cookies == [()]


# Listings

PROFILE = ListingRef(platform="tiktok", kind="profile", id="u", url="https://www.tiktok.com/@u")


async def test_a_listing_is_read_with_an_account_too() -> None:
    kit = Kit()
    kit.engine.raw = msgspec.Raw(encode({"_type": "playlist", "entries": [{"url": VIDEO.url}]}))
    found = await kit.reader.list_posts(PROFILE, make_job(authenticate=True), 5)
    assert [each.id for each in found.entries] == [VIDEO.id]
    assert kit.sent_cookies == [(cookie(),)]
    assert kit.use == Use(subject="tiktok:profile/u", needed=True)
    assert NEW in kit.account.renewals


@pytest.mark.parametrize(("left", "most"), [(7, 7), (3_600, 30), (-5, 1)])
async def test_a_page_has_the_time_that_is_left(left: float, most: float) -> None:
    kit = Kit()
    await kit.read(deadline=datetime.now(UTC) + timedelta(seconds=left))
    assert 0 <= most - kit.engine.jobs[0].deadline_seconds < 1


@pytest.mark.parametrize(("limit", "seconds"), [(15, 31), (150, 40), (1_000, 30 + 1_000 / 15)])
async def test_a_long_listing_has_more_time(limit: int, seconds: float) -> None:
    kit = Kit()
    kit.engine.raw = msgspec.Raw(encode({"_type": "playlist", "entries": []}))
    await kit.reader.list_posts(PROFILE, make_job(), limit)
    assert kit.engine.jobs[0].deadline_seconds == pytest.approx(seconds)


async def test_a_listing_costs_the_rate_its_pages() -> None:
    kit = Kit()
    kit.engine.raw = msgspec.Raw(encode({"_type": "playlist", "entries": []}))
    needs: list[Cost] = []
    run = kit.reader._gate.run

    async def note(*args: Any, need: Cost, **fields: Any) -> Any:
        needs.append(need)
        return await run(*args, need=need, **fields)

    kit.reader._gate.run = note  # type: ignore[method-assign,assignment]
    await kit.reader.list_posts(PROFILE, make_job(), 150)
    with pytest.raises(ClipmillError):
        await kit.read()
    assert needs == [Cost(requests=11.0, is_list=True), ONE_REQUEST]


# With an account always


async def test_every_page_is_read_with_an_account_where_that_is_wanted() -> None:
    kit = Kit(always=True)
    await kit.read()
    assert kit.sent_cookies == [(cookie(),)]
    assert kit.use == Use(subject=VIDEO.key, needed=False)


def resting() -> ClipmillError:
    error = ClipmillError(ErrorCode.RATE_LIMIT_ACCOUNT, "all rest", retry_after=60.0)
    error.permitted = False
    return error


RESTING: list[tuple[bool, dict[str, bool], bool]] = [
    (True, {}, True),
    (True, {"authenticate": True}, False),
    (False, {"authenticate": True}, False),
]


@pytest.mark.parametrize(("always", "job", "is_read"), RESTING)
async def test_accounts_that_rest_hold_up_those_who_need_one(
    always: bool, job: dict[str, Any], is_read: bool
) -> None:
    kit = Kit(error=resting(), always=always)
    if is_read:
        await kit.read(**job)
        assert kit.sent_cookies == [()]
        return
    error = await kit.fail(**job)
    assert (error.permitted, error.retry_after, error.place) == (False, 60.0, None)
    assert kit.engine.jobs == []


@pytest.mark.parametrize("job", [make_job(), make_job(authenticate=True)])
async def test_accounts_that_cannot_be_used_are_told(job: Job) -> None:
    wrong = ClipmillError(ErrorCode.SYSTEM_CONFIG, "no cookie file")
    kit = Kit(error=wrong, always=True)
    with pytest.raises(ClipmillError) as caught:
        await kit.reader.read(VIDEO, job)
    assert caught.value is wrong
    assert kit.engine.jobs == []
