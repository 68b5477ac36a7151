import asyncio
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accounts.cookie_files import CookieFiles
from agents.accounts.health import OLD_SECONDS, REFUSALS_MAX, REST_SECONDS
from agents.accounts.interface import Authenticator, LoginSettings, Standing, Use
from agents.accounts.session import AccountLease
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import LATER, SECRET, cookie, value_in, write
from tests.unit.agents.builders import Clock

LIMITED = ErrorCode.RATE_LIMIT_ACCOUNT
LOGIN = ErrorCode.CONTENT_LOGIN_REQUIRED
NOT_FOUND = ErrorCode.CONTENT_NOT_FOUND


class Kit:
    """Cookie files of TikTok in a folder, by the names of their accounts."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.clock = Clock()
        for name in names:
            self.write(name)
        self.clock.now = max(
            (path.stat().st_mtime for path in folder.iterdir()), default=2_000_000_000.0
        )
        self.files = self.made(*(folder / f"{name}.txt" for name in names))

    def made(self, *places: Path, hosts: tuple[str, ...] = ()) -> CookieFiles:
        settings = LoginSettings(
            hosts={"tiktok": hosts},
            cookie_files={"tiktok": places},
            session_cookies={"tiktok": ("sessionid",)},
            write_seconds=3_600.0,
        )
        return CookieFiles(settings, self.clock)

    def write(self, name: str, *cookies: Cookie) -> Path:
        return write(self.folder / f"{name}.txt", *(cookies or (cookie(value=f"{name}'s"),)))

    async def log_in(self, *avoid: str) -> AccountLease:
        found = await self.files.log_in("tiktok", avoid=avoid)
        assert found is not None
        return found

    async def name(self, *avoid: str) -> str | None:
        self.clock.now += 1
        found = await self.files.log_in("tiktok", avoid=avoid)
        return None if found is None else found.name

    async def use(
        self, name: str, code: ErrorCode | None = None, subject: str = "tiktok:1"
    ) -> None:
        """Use an account once; all others are avoided for it."""
        others = {*self.files.accounts("tiktok")} - {name}
        account = await self.log_in(*others)
        assert account.name == name
        self.files.tell("tiktok", account, Use(subject=subject, needed=True, code=code))

    async def end(self, name: str) -> None:
        for number in range(REFUSALS_MAX):
            await self.use(name, LOGIN, f"tiktok:{number}")


@pytest.fixture
def pair(tmp_path: Path) -> Kit:
    return Kit(tmp_path, "a", "b")


async def test_an_account_has_the_cookies_of_its_file(pair: Kit) -> None:
    authenticator: Authenticator = pair.files
    assert authenticator.accounts("tiktok") == ("a", "b")
    account = await authenticator.log_in("tiktok")
    assert account is not None
    assert (account.name, account.cookies) == ("a", (cookie(value="a's"),))


async def test_a_platform_without_files_has_no_login(pair: Kit) -> None:
    assert pair.files.accounts("other") == ()
    assert await pair.files.log_in("other") is None
    assert pair.files.health_report() == []


async def test_accounts_take_turns(pair: Kit) -> None:
    assert [await pair.name() for _ in range(4)] == ["a", "b", "a", "b"]


async def test_an_account_to_avoid_is_left_out_while_there_is_another(pair: Kit) -> None:
    assert [await pair.name("a") for _ in range(2)] == ["b", "b"]
    assert await pair.name("a", "b") == "a"


async def test_a_limited_account_rests(pair: Kit) -> None:
    await pair.use("a", LIMITED)
    assert [await pair.name() for _ in range(3)] == ["b", "b", "b"]
    pair.clock.now += REST_SECONDS
    assert {await pair.name(), await pair.name()} == {"a", "b"}


async def test_when_all_rest_it_is_told_until_when(pair: Kit) -> None:
    await pair.use("a", LIMITED)
    pair.clock.now += 100
    await pair.use("b", LIMITED)
    with pytest.raises(ClipmillError, match="are resting") as caught:
        await pair.files.log_in("tiktok")
    error = caught.value
    assert (error.code, error.permitted, error.retry_after) == (LIMITED, False, REST_SECONDS - 100)
    with pytest.raises(ClipmillError) as caught:
        await pair.files.log_in("tiktok", avoid=["a"])
    assert caught.value.retry_after == REST_SECONDS


async def test_an_ended_login_is_out_until_its_file_changes(pair: Kit) -> None:
    await pair.end("a")
    assert [await pair.name() for _ in range(3)] == ["b", "b", "b"]
    pair.write("a", cookie(value="another"))
    assert {await pair.name(), await pair.name()} == {"a", "b"}


async def test_with_none_left_there_is_none(pair: Kit) -> None:
    await pair.end("a")
    await pair.end("b")
    assert await pair.name() is None


async def test_one_refused_post_ends_no_login(pair: Kit) -> None:
    for _ in range(2 * REFUSALS_MAX):
        await pair.use("a", LOGIN)
        await pair.use("b", LOGIN)
    assert await pair.name() is not None


async def test_an_account_that_was_refused_comes_after_the_others(pair: Kit) -> None:
    await pair.use("a", LOGIN)
    assert [await pair.name() for _ in range(3)] == ["b", "b", "b"]
    await pair.use("a")
    assert {await pair.name(), await pair.name()} == {"a", "b"}


async def test_what_is_no_fault_of_the_account_changes_nothing(pair: Kit) -> None:
    for _ in range(9):
        await pair.use("a", NOT_FOUND)
    await pair.use("b")
    assert await pair.name() == "a"


@pytest.mark.parametrize("name", ["sessionid", "other"])
async def test_a_login_that_ended_by_itself_is_not_used(tmp_path: Path, name: str) -> None:
    kit = Kit(tmp_path, "a", "b")
    kit.write("a", cookie(name, expires_at=kit.clock.now + 10))
    assert {await kit.name(), await kit.name()} == {"a", "b"}
    kit.clock.now += 10
    assert {await kit.name(), await kit.name()} == {"b"}


async def test_an_old_file_comes_after_the_others(pair: Kit) -> None:
    pair.clock.now += OLD_SECONDS
    os.utime(pair.folder / "b.txt", (pair.clock.now, pair.clock.now))
    assert [await pair.name() for _ in range(3)] == ["b", "b", "b"]


# What is on disk


async def test_a_folder_is_looked_at_anew(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    kit.files = kit.made(tmp_path)
    assert await kit.name() is None
    kit.write("a")
    assert await kit.name() == "a"
    kit.write("b")
    assert await kit.name() == "b"
    (tmp_path / "a.txt").unlink()
    assert [await kit.name() for _ in range(2)] == ["b", "b"]
    assert [each.account for each in kit.files.health_report()] == ["b"]


async def test_a_file_is_parsed_once(pair: Kit) -> None:
    first, second = await pair.log_in("b"), await pair.log_in("b")
    assert first.cookies[0] is second.cookies[0]


async def test_a_file_that_cannot_be_used_is_told_once_and_left_out(
    pair: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    (pair.folder / "a.txt").write_text(f"sessionid={SECRET}")
    assert [await pair.name() for _ in range(3)] == ["b", "b", "b"]
    (record,) = caplog.records
    assert "a.txt cannot be used: line 1 has 1 fields" in record.message
    assert SECRET not in caplog.text
    pair.write("a")
    assert await pair.name() == "a"


async def test_without_any_usable_file_the_settings_are_at_fault(pair: Kit) -> None:
    for name in "ab":
        (pair.folder / f"{name}.txt").write_text("none")
    with pytest.raises(ClipmillError, match="cookie file of a: line 1 has 1 fields") as caught:
        await pair.files.log_in("tiktok")
    assert (caught.value.code, caught.value.permitted) == (ErrorCode.SYSTEM_CONFIG, True)
    assert str(pair.folder) not in caught.value.message


@pytest.mark.parametrize("place", ["missing.txt", "missing"])
async def test_what_is_not_there_is_a_matter_of_settings(
    pair: Kit, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair.files = pair.made(pair.folder / place)
    with pytest.raises(ClipmillError, match="No such file") as caught:
        await pair.files.log_in("tiktok")
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert str(pair.folder) not in caught.value.message
    (record,) = caplog.records
    assert str(pair.folder / place) in record.message


async def test_an_odd_line_is_told_once_and_the_account_is_used(
    pair: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    path = pair.folder / "a.txt"
    path.write_text(f"{path.read_text()}Cookie: sessionid={SECRET}\n")
    assert {await pair.name() for _ in range(3)} == {"a", "b"}
    (record,) = caplog.records
    assert str(path) in record.message
    assert "left out: line 3 has 1 fields, not 7" in record.message
    assert SECRET not in caplog.text


async def test_cookies_without_a_login_are_told(
    pair: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    pair.write("a", cookie("msToken"))
    assert {await pair.name() for _ in range(3)} == {"a", "b"}
    (record,) = caplog.records
    assert "it has no sessionid; was it exported while logged in?" in record.message


YOUTUBE = Cookie(name="sessionid", value=SECRET, domain=".youtube.com", expires_at=LATER)


async def test_a_file_of_another_site_is_no_account(
    pair: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    pair.files = pair.made(pair.folder, hosts=("www.tiktok.com", "tiktok.com"))
    pair.write("a", YOUTUBE)
    assert [await pair.name() for _ in range(3)] == ["b", "b", "b"]
    (record,) = caplog.records
    assert "a.txt is no account for tiktok: it has no cookie that is sent to" in record.message
    assert [(each.account, each.healthy) for each in pair.files.health_report()] == [
        ("b", True),
        ("a", False),
    ]
    pair.write("b", YOUTUBE)
    assert await pair.name() is None
    pair.write("a", YOUTUBE, cookie())
    assert await pair.name() == "a"
    assert [(each.account, each.healthy) for each in pair.files.health_report()] == [
        ("a", True),
        ("b", False),
    ]


async def test_many_pages_at_once_share_the_accounts(pair: Kit) -> None:
    accounts = await asyncio.gather(*(pair.log_in() for _ in range(40)))
    assert {account.name for account in accounts} == {"a", "b"}
    assert len(pair.files.health_report()) == 2


async def test_what_is_set_anew_is_written(pair: Kit) -> None:
    account = await pair.log_in("b")
    account.renew((cookie(value="new"),))
    assert (await pair.log_in("b")).cookies == (cookie(value="new"),)
    await pair.files.close()
    assert (value_in(pair.folder / "a.txt"), value_in(pair.folder / "b.txt")) == ("new", "b's")


async def test_what_was_written_is_not_taken_for_a_change_of_somebody(pair: Kit) -> None:
    await pair.use("a", LOGIN)
    account = await pair.log_in("b")
    account.renew((cookie(value="new"),))
    await pair.files.close()
    assert [await pair.name() for _ in range(2)] == ["b", "b"]


async def test_an_account_that_is_gone_is_told_in_vain(pair: Kit) -> None:
    account = await pair.log_in("b")
    (pair.folder / "a.txt").unlink()
    with pytest.raises(ClipmillError):
        await pair.made(pair.folder / "a.txt").log_in("tiktok")
    await pair.log_in("a")
    pair.files.tell("tiktok", account, Use(subject="tiktok:1", needed=True))
    account.renew((cookie(value="new"),))
    await pair.files.close()
    assert not (pair.folder / "a.txt").exists()


# What is seen of it


async def test_accounts_are_shown_as_they_fare(pair: Kit) -> None:
    await pair.use("a", LIMITED)
    await pair.use("b")
    assert pair.files.health_report() == [
        Standing(platform="tiktok", account="a", healthy=False, expires_at=LATER),
        Standing(
            platform="tiktok",
            account="b",
            healthy=True,
            last_success_at=pair.clock.now,
            expires_at=LATER,
        ),
    ]


@given(st.lists(st.text(min_size=8, max_size=30), min_size=1, max_size=4, unique=True))
def test_no_secret_is_shown(values: list[str]) -> None:
    values = [f"secret {value}" for value in values]
    settings = LoginSettings(options={str(n): value for n, value in enumerate(values)})
    shown = f"{settings!r} {settings}"
    assert not [value for value in values if value in shown]
    cookies = [cookie(f"n{n}", value) for n, value in enumerate(values)]
    shown = " ".join(f"{each!r} {each}" for each in cookies)
    assert not [value for value in values if value in shown]


async def test_nothing_is_logged_of_a_login_that_goes_well(
    pair: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "agents")
    await pair.use("a")
    (await pair.log_in()).renew((cookie(value="new"),))
    await pair.files.close()
    assert [record for record in caplog.records if record.name.startswith("agents")] == []


def test_making_it_reads_nothing(tmp_path: Path) -> None:
    assert CookieFiles(LoginSettings(cookie_files={"tiktok": (tmp_path / "no.txt",)})).accounts(
        "tiktok"
    ) == ("no",)
