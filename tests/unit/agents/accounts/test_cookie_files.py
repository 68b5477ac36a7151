import asyncio
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accounts.cookie_files import CookieFiles
from agents.accounts.health import COOLDOWN_SECONDS, OLD_FILE_SECONDS, REFUSALS_MAX
from agents.accounts.interface import AccountStatus, AccountUse, Authenticator, LoginSettings
from agents.accounts.session import AccountLease
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import LATER, SECRET, cookie, value_in, write
from tests.unit.agents.builders import Clock

LIMITED = ErrorCode.RATE_LIMIT_ACCOUNT
LOGIN = ErrorCode.CONTENT_LOGIN_REQUIRED
NOT_FOUND = ErrorCode.CONTENT_NOT_FOUND


class CookieFilesHarness:
    """Cookie files of TikTok in a folder, by account name."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.clock = Clock()
        for name in names:
            self.write(name)
        self.clock.now = max(
            (path.stat().st_mtime for path in folder.iterdir()), default=2_000_000_000.0
        )
        self.files = self.create_files(*(folder / f"{name}.txt" for name in names))

    def create_files(self, *paths: Path, hosts: tuple[str, ...] = ()) -> CookieFiles:
        settings = LoginSettings(
            hosts={"tiktok": hosts},
            cookie_files={"tiktok": paths},
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

    async def next_account(self, *avoid: str) -> str | None:
        self.clock.now += 1
        found = await self.files.log_in("tiktok", avoid=avoid)
        return None if found is None else found.name

    async def use(
        self, name: str, code: ErrorCode | None = None, subject: str = "tiktok:1"
    ) -> None:
        """Use an account once, avoiding all others."""
        others = {*self.files.accounts("tiktok")} - {name}
        account = await self.log_in(*others)
        assert account.name == name
        self.files.record_use(
            "tiktok", account, AccountUse(subject=subject, login_required=True, code=code)
        )

    async def refuse_login(self, name: str) -> None:
        for number in range(REFUSALS_MAX):
            await self.use(name, LOGIN, f"tiktok:{number}")


@pytest.fixture
def harness(tmp_path: Path) -> CookieFilesHarness:
    return CookieFilesHarness(tmp_path, "a", "b")


async def test_account_has_the_cookies_of_its_file(harness: CookieFilesHarness) -> None:
    authenticator: Authenticator = harness.files
    assert authenticator.accounts("tiktok") == ("a", "b")
    account = await authenticator.log_in("tiktok")
    assert account is not None
    assert (account.name, account.cookies) == ("a", (cookie(value="a's"),))


async def test_platform_without_files_has_no_login(harness: CookieFilesHarness) -> None:
    assert harness.files.accounts("other") == ()
    assert await harness.files.log_in("other") is None
    assert harness.files.health_report() == []


async def test_accounts_are_used_in_rotation(harness: CookieFilesHarness) -> None:
    assert [await harness.next_account() for _ in range(4)] == ["a", "b", "a", "b"]


async def test_avoided_account_is_used_only_when_there_is_no_other(
    harness: CookieFilesHarness,
) -> None:
    assert [await harness.next_account("a") for _ in range(2)] == ["b", "b"]
    assert await harness.next_account("a", "b") == "a"


async def test_rate_limited_account_cools_down(harness: CookieFilesHarness) -> None:
    await harness.use("a", LIMITED)
    assert [await harness.next_account() for _ in range(3)] == ["b", "b", "b"]
    harness.clock.now += COOLDOWN_SECONDS
    assert {await harness.next_account(), await harness.next_account()} == {"a", "b"}


async def test_error_has_retry_after_while_all_accounts_cool_down(
    harness: CookieFilesHarness,
) -> None:
    await harness.use("a", LIMITED)
    harness.clock.now += 100
    await harness.use("b", LIMITED)
    with pytest.raises(ClipmillError, match="are paused") as caught:
        await harness.files.log_in("tiktok")
    error = caught.value
    assert (error.code, error.permitted, error.retry_after) == (
        LIMITED,
        False,
        COOLDOWN_SECONDS - 100,
    )
    with pytest.raises(ClipmillError) as caught:
        await harness.files.log_in("tiktok", avoid=["a"])
    assert caught.value.retry_after == COOLDOWN_SECONDS


async def test_refused_login_is_not_used_until_its_file_changes(
    harness: CookieFilesHarness,
) -> None:
    await harness.refuse_login("a")
    assert [await harness.next_account() for _ in range(3)] == ["b", "b", "b"]
    harness.write("a", cookie(value="another"))
    assert {await harness.next_account(), await harness.next_account()} == {"a", "b"}


async def test_no_account_is_returned_when_all_are_refused(harness: CookieFilesHarness) -> None:
    await harness.refuse_login("a")
    await harness.refuse_login("b")
    assert await harness.next_account() is None


async def test_refusals_of_one_post_refuse_no_login(harness: CookieFilesHarness) -> None:
    for _ in range(2 * REFUSALS_MAX):
        await harness.use("a", LOGIN)
        await harness.use("b", LOGIN)
    assert await harness.next_account() is not None


async def test_once_refused_account_is_used_last(harness: CookieFilesHarness) -> None:
    await harness.use("a", LOGIN)
    assert [await harness.next_account() for _ in range(3)] == ["b", "b", "b"]
    await harness.use("a")
    assert {await harness.next_account(), await harness.next_account()} == {"a", "b"}


async def test_unrelated_errors_do_not_affect_the_account(harness: CookieFilesHarness) -> None:
    for _ in range(9):
        await harness.use("a", NOT_FOUND)
    await harness.use("b")
    assert await harness.next_account() == "a"


@pytest.mark.parametrize("name", ["sessionid", "other"])
async def test_expired_login_is_not_used(tmp_path: Path, name: str) -> None:
    harness = CookieFilesHarness(tmp_path, "a", "b")
    harness.write("a", cookie(name, expires_at=harness.clock.now + 10))
    assert {await harness.next_account(), await harness.next_account()} == {"a", "b"}
    harness.clock.now += 10
    assert {await harness.next_account(), await harness.next_account()} == {"b"}


async def test_account_with_an_old_file_is_used_last(harness: CookieFilesHarness) -> None:
    harness.clock.now += OLD_FILE_SECONDS
    os.utime(harness.folder / "b.txt", (harness.clock.now, harness.clock.now))
    assert [await harness.next_account() for _ in range(3)] == ["b", "b", "b"]


# Files on disk


async def test_folder_is_rescanned(tmp_path: Path) -> None:
    harness = CookieFilesHarness(tmp_path)
    harness.files = harness.create_files(tmp_path)
    assert await harness.next_account() is None
    harness.write("a")
    assert await harness.next_account() == "a"
    harness.write("b")
    assert await harness.next_account() == "b"
    (tmp_path / "a.txt").unlink()
    assert [await harness.next_account() for _ in range(2)] == ["b", "b"]
    assert [each.account for each in harness.files.health_report()] == ["b"]


async def test_file_is_parsed_once(harness: CookieFilesHarness) -> None:
    first, second = await harness.log_in("b"), await harness.log_in("b")
    assert first.cookies[0] is second.cookies[0]


async def test_unusable_file_is_logged_once_and_skipped(
    harness: CookieFilesHarness, caplog: pytest.LogCaptureFixture
) -> None:
    (harness.folder / "a.txt").write_text(f"sessionid={SECRET}")
    assert [await harness.next_account() for _ in range(3)] == ["b", "b", "b"]
    (record,) = caplog.records
    assert "a.txt cannot be used: line 1 has 1 fields" in record.message
    assert SECRET not in caplog.text
    harness.write("a")
    assert await harness.next_account() == "a"


async def test_no_usable_file_is_a_config_error(harness: CookieFilesHarness) -> None:
    for name in "ab":
        (harness.folder / f"{name}.txt").write_text("none")
    with pytest.raises(ClipmillError, match="cookie file of a: line 1 has 1 fields") as caught:
        await harness.files.log_in("tiktok")
    assert (caught.value.code, caught.value.permitted) == (ErrorCode.SYSTEM_CONFIG, True)
    assert str(harness.folder) not in caught.value.message


@pytest.mark.parametrize("file_name", ["missing.txt", "missing"])
async def test_missing_path_is_a_config_error(
    harness: CookieFilesHarness, file_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    harness.files = harness.create_files(harness.folder / file_name)
    with pytest.raises(ClipmillError, match="No such file") as caught:
        await harness.files.log_in("tiktok")
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert str(harness.folder) not in caught.value.message
    (record,) = caplog.records
    assert str(harness.folder / file_name) in record.message


async def test_malformed_line_is_logged_once_and_the_account_is_used(
    harness: CookieFilesHarness, caplog: pytest.LogCaptureFixture
) -> None:
    path = harness.folder / "a.txt"
    path.write_text(f"{path.read_text()}Cookie: sessionid={SECRET}\n")
    assert {await harness.next_account() for _ in range(3)} == {"a", "b"}
    (record,) = caplog.records
    assert str(path) in record.message
    assert "left out: line 3 has 1 fields, not 7" in record.message
    assert SECRET not in caplog.text


async def test_cookies_without_a_login_are_logged(
    harness: CookieFilesHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.write("a", cookie("msToken"))
    assert {await harness.next_account() for _ in range(3)} == {"a", "b"}
    (record,) = caplog.records
    assert "it has no sessionid; was it exported while logged in?" in record.message


YOUTUBE = Cookie(name="sessionid", value=SECRET, domain=".youtube.com", expires_at=LATER)


async def test_file_of_another_site_is_no_account(
    harness: CookieFilesHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.files = harness.create_files(harness.folder, hosts=("www.tiktok.com", "tiktok.com"))
    harness.write("a", YOUTUBE)
    assert [await harness.next_account() for _ in range(3)] == ["b", "b", "b"]
    (record,) = caplog.records
    assert "a.txt is not an account for tiktok: it has no cookie that is sent to" in record.message
    assert [(each.account, each.healthy) for each in harness.files.health_report()] == [
        ("b", True),
        ("a", False),
    ]
    harness.write("b", YOUTUBE)
    assert await harness.next_account() is None
    harness.write("a", YOUTUBE, cookie())
    assert await harness.next_account() == "a"
    assert [(each.account, each.healthy) for each in harness.files.health_report()] == [
        ("a", True),
        ("b", False),
    ]


async def test_concurrent_logins_share_the_accounts(harness: CookieFilesHarness) -> None:
    accounts = await asyncio.gather(*(harness.log_in() for _ in range(40)))
    assert {account.name for account in accounts} == {"a", "b"}
    assert len(harness.files.health_report()) == 2


async def test_renewed_cookie_is_written(harness: CookieFilesHarness) -> None:
    account = await harness.log_in("b")
    account.renew((cookie(value="new"),))
    assert (await harness.log_in("b")).cookies == (cookie(value="new"),)
    await harness.files.close()
    assert (value_in(harness.folder / "a.txt"), value_in(harness.folder / "b.txt")) == (
        "new",
        "b's",
    )


async def test_own_write_is_not_taken_for_an_owner_change(harness: CookieFilesHarness) -> None:
    await harness.use("a", LOGIN)
    account = await harness.log_in("b")
    account.renew((cookie(value="new"),))
    await harness.files.close()
    assert [await harness.next_account() for _ in range(2)] == ["b", "b"]


async def test_removed_account_ignores_uses_and_renewals(harness: CookieFilesHarness) -> None:
    account = await harness.log_in("b")
    (harness.folder / "a.txt").unlink()
    with pytest.raises(ClipmillError):
        await harness.create_files(harness.folder / "a.txt").log_in("tiktok")
    await harness.log_in("a")
    harness.files.record_use("tiktok", account, AccountUse(subject="tiktok:1", login_required=True))
    account.renew((cookie(value="new"),))
    await harness.files.close()
    assert not (harness.folder / "a.txt").exists()


# Reports and logs


async def test_health_report_reflects_uses(harness: CookieFilesHarness) -> None:
    await harness.use("a", LIMITED)
    await harness.use("b")
    assert harness.files.health_report() == [
        AccountStatus(platform="tiktok", account="a", healthy=False, expires_at=LATER),
        AccountStatus(
            platform="tiktok",
            account="b",
            healthy=True,
            last_success_at=harness.clock.now,
            expires_at=LATER,
        ),
    ]


@given(st.lists(st.text(min_size=8, max_size=30), min_size=1, max_size=4, unique=True))
def test_secrets_are_not_shown(values: list[str]) -> None:
    values = [f"secret {value}" for value in values]
    settings = LoginSettings(options={str(n): value for n, value in enumerate(values)})
    shown = f"{settings!r} {settings}"
    assert not [value for value in values if value in shown]
    cookies = [cookie(f"n{n}", value) for n, value in enumerate(values)]
    shown = " ".join(f"{each!r} {each}" for each in cookies)
    assert not [value for value in values if value in shown]


async def test_successful_login_is_not_logged(
    harness: CookieFilesHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "agents")
    await harness.use("a")
    (await harness.log_in()).renew((cookie(value="new"),))
    await harness.files.close()
    assert [record for record in caplog.records if record.name.startswith("agents")] == []


def test_constructor_reads_no_file(tmp_path: Path) -> None:
    assert CookieFiles(LoginSettings(cookie_files={"tiktok": (tmp_path / "no.txt",)})).accounts(
        "tiktok"
    ) == ("no",)
