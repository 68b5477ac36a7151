"""A session with its file and a fake clock: only the first write is immediate."""

import asyncio
import logging
import os
from pathlib import Path

import pytest

from agents.accounts import session as session_module
from agents.accounts.cookie_file import load
from agents.accounts.cookie_saving import BusyError
from agents.accounts.cookie_text import COOKIES_MAX
from agents.accounts.health import AccountHealth
from agents.accounts.interface import Account, AccountUse
from agents.accounts.session import AccountSession
from schemas.errors import ErrorCode
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import LATER, SECRET, cookie, value_in, write
from tests.unit.agents.builders import Clock

NEW = "n3w v4lue"
WRITE_SECONDS = 3_600.0
"""Longer than any test: renewals that are not written at once are written by `close`."""


class SessionHarness:
    def __init__(self, path: Path, *cookies: Cookie, write_seconds: float = WRITE_SECONDS) -> None:
        self.path = write(path, *cookies)
        self.clock = Clock(2_000_000_000.0)
        content = load(self.path)
        assert content is not None
        self.session = AccountSession(
            self.path,
            content,
            session_cookies=("sessionid",),
            write_seconds=write_seconds,
            clock=self.clock,
        )

    async def wait_for_write(self) -> None:
        """Wait until a started write has finished."""
        for _ in range(3):
            await asyncio.sleep(0)
        writing = self.session._writing
        if writing is not None:
            await writing

    def reload_if_changed(self) -> None:
        """Reload the file if it has changed, as the authenticator does."""
        content = load(self.path, self.session.content.fingerprint)
        if content is not None:
            self.session.reload(content)


@pytest.fixture
def harness(tmp_path: Path) -> SessionHarness:
    return SessionHarness(tmp_path / "main.txt")


def test_account_has_the_cookies_of_its_file(harness: SessionHarness) -> None:
    account: Account = harness.session.lease()
    assert (account.name, account.cookies) == ("main", (cookie(),))
    assert harness.session.health.used_at == harness.clock.now


def test_expired_cookie_is_not_sent(tmp_path: Path) -> None:
    harness = SessionHarness(
        tmp_path / "a.txt", cookie("a", expires_at=2_000_000_005.0), cookie("b")
    )
    assert [each.name for each in harness.session.cookies()] == ["a", "b"]
    harness.clock.now += 5
    assert [each.name for each in harness.session.cookies()] == ["b"]


def test_candidate_has_name_health_and_times(harness: SessionHarness) -> None:
    harness.session.record_use(AccountUse(subject="tiktok:1", login_required=True))
    candidate = harness.session.candidate()
    assert (candidate.name, candidate.expires_at) == ("main", LATER)
    assert candidate.written_at == harness.path.stat().st_mtime_ns / 1e9
    assert candidate.health == AccountHealth(success_at=harness.clock.now)


async def test_renewed_cookie_is_used_and_written_at_once(harness: SessionHarness) -> None:
    harness.session.lease().renew((cookie(value=NEW), cookie("other", expires_at=None)))
    assert harness.session.lease().cookies == (cookie(value=NEW), cookie("other", expires_at=None))
    await harness.wait_for_write()
    assert (value_in(harness.path), value_in(harness.path, "other")) == (NEW, SECRET)
    assert harness.session.lease().cookies == (cookie(value=NEW), cookie("other", expires_at=None))
    await harness.session.close()


async def test_unchanged_cookie_is_not_written(harness: SessionHarness) -> None:
    before = harness.path.stat()
    harness.session.lease().renew((cookie(), cookie(expires_at=LATER + 60)))
    harness.session.lease().renew(())
    await harness.wait_for_write()
    await harness.session.close()
    assert harness.path.stat() == before


async def test_late_page_does_not_revert_a_renewal(harness: SessionHarness) -> None:
    """Its cookies are those of its lease, which another page has renewed since."""
    late, early = harness.session.lease(), harness.session.lease()
    early.renew((cookie(value=NEW),))
    late.renew((cookie(),))
    assert harness.session.cookies() == (cookie(value=NEW),)
    await harness.session.close()
    assert value_in(harness.path) == NEW


async def test_writes_are_coalesced(harness: SessionHarness) -> None:
    harness.session.lease().renew((cookie(value="first"),))
    await harness.wait_for_write()
    for number in range(50):
        harness.session.lease().renew((cookie(value=f"value {number}"),))
        await harness.wait_for_write()
    assert value_in(harness.path) == "first"
    await harness.session.close()
    assert value_in(harness.path) == "value 49"


async def test_write_after_the_interval_is_immediate(harness: SessionHarness) -> None:
    harness.session.lease().renew((cookie(value="first"),))
    await harness.wait_for_write()
    harness.clock.now += WRITE_SECONDS
    harness.session.lease().renew((cookie(value="second"),))
    await harness.wait_for_write()
    assert value_in(harness.path) == "second"


async def test_renewal_during_a_write_is_written_next(tmp_path: Path) -> None:
    harness = SessionHarness(tmp_path / "a.txt", write_seconds=0.001)
    harness.session.lease().renew((cookie(value="first"),))
    await asyncio.sleep(0)
    harness.session.lease().renew((cookie(value="second"),))
    async with asyncio.timeout(5):
        while harness.session._renewals:
            await harness.wait_for_write()
    assert value_in(harness.path) == "second"


async def test_second_close_writes_nothing(harness: SessionHarness) -> None:
    harness.session.lease().renew((cookie(value=NEW),))
    await harness.session.close()
    before = harness.path.stat()
    await harness.session.close()
    assert harness.path.stat() == before
    assert value_in(harness.path) == NEW


# Other writers of the file


def record_refusals(harness: SessionHarness) -> None:
    harness.session.record_use(
        AccountUse(subject="tiktok:1", login_required=True, code=ErrorCode.CONTENT_LOGIN_REQUIRED)
    )
    harness.session.record_use(
        AccountUse(subject="tiktok:2", login_required=True, code=ErrorCode.RATE_LIMIT_ACCOUNT)
    )


async def test_file_replaced_by_its_owner_resets_the_session(harness: SessionHarness) -> None:
    harness.session.lease()
    record_refusals(harness)
    harness.session.renew((cookie("other"),))
    write(harness.path, cookie(value="mine"))
    harness.reload_if_changed()
    assert harness.session.cookies() == (cookie(value="mine"),)
    assert harness.session.health == AccountHealth(used_at=harness.clock.now)
    await harness.session.close()
    assert "other" not in harness.path.read_text()


async def test_owner_change_found_on_write_takes_precedence(harness: SessionHarness) -> None:
    record_refusals(harness)
    write(harness.path, cookie(value="mine"))
    harness.session.lease().renew((cookie(value=NEW),))
    await harness.wait_for_write()
    assert value_in(harness.path) == "mine"
    assert harness.session.cookies() == (cookie(value="mine"),)
    assert harness.session.health == AccountHealth(used_at=harness.clock.now)
    await harness.session.close()
    assert value_in(harness.path) == "mine"


async def test_renewal_of_another_process_is_used(harness: SessionHarness) -> None:
    record_refusals(harness)
    before = harness.session.health
    other = SessionHarness(harness.path)
    harness.session.content = other.session.content
    other.session.lease().renew((cookie(value="theirs"),))
    await other.wait_for_write()
    harness.reload_if_changed()
    assert harness.session.cookies() == (cookie(value="theirs"),)
    assert harness.session.health.refused_for == ()
    assert harness.session.health.cooldown_until == before.cooldown_until
    await harness.session.close()
    assert value_in(harness.path) == "theirs"


async def test_busy_file_is_written_later(
    harness: SessionHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_arguments: object) -> None:
        raise BusyError

    with monkeypatch.context() as patch:
        patch.setattr(session_module, "save", busy)
        harness.session.lease().renew((cookie(value=NEW),))
        await harness.wait_for_write()
    assert harness.session.unsaved is None
    await harness.session.close()
    assert value_in(harness.path) == NEW


# A file that cannot be written


async def test_unwritable_renewal_is_used_and_logged_once(
    harness: SessionHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(*_arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(session_module, "save", read_only)
        for value in ("first", "second", NEW):
            harness.session.lease().renew((cookie(value=value),))
            await harness.wait_for_write()
            harness.clock.now += WRITE_SECONDS
    assert harness.session.unsaved == "Read-only file system"
    assert harness.session.cookies() == (cookie(value=NEW),)
    assert [record.message.count("Read-only") for record in caplog.records] == [1]
    harness.session.lease().renew((cookie(value=NEW), cookie("other")))
    await harness.wait_for_write()
    assert not harness.session.unsaved
    assert value_in(harness.path) == NEW


async def test_unwritten_renewals_are_bounded(
    harness: SessionHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(session_module, "save", read_only)
    for page in range(COOKIES_MAX // 20):
        names = [f"p{page}-{number}" for number in range(64)]
        harness.session.lease().renew((cookie(value=f"v{page}"), *map(cookie, names)))
        await harness.wait_for_write()
    harness.session.lease().renew((cookie("p0-0", NEW), cookie(value=NEW)))
    cookies = {each.name: each.value for each in harness.session.cookies()}
    assert len(cookies) == COOKIES_MAX
    assert cookies["sessionid"] == cookies["p0-0"] == NEW


async def test_full_file_gets_no_new_cookies_and_is_not_written(
    tmp_path: Path,
) -> None:
    harness = SessionHarness(
        tmp_path / "a.txt", *(cookie(f"n{number}") for number in range(COOKIES_MAX))
    )
    before = harness.path.stat()
    harness.session.lease().renew((cookie("new"),))
    await harness.wait_for_write()
    await harness.session.close()
    assert harness.path.stat() == before
    assert len(harness.session.cookies()) == COOKIES_MAX


async def test_file_name_cannot_inject_log_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness = SessionHarness(tmp_path / "a\nERROR b.txt")
    harness.path.chmod(0o644)
    harness.reload_if_changed()
    monkeypatch.setattr(session_module, "save", lambda *_: (_ for _ in ()).throw(OSError(30, "x")))
    harness.session.lease().renew((cookie(value=NEW),))
    await harness.wait_for_write()
    shown = [
        *(each.message for each in caplog.records),
        repr(harness.session),
        harness.session.name,
    ]
    assert all(each.isprintable() for each in shown)
    assert [each.levelname for each in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("broken", ["not a cookie file", ""])
async def test_corrupted_file_is_left_unchanged(harness: SessionHarness, broken: str) -> None:
    harness.path.write_text(broken)
    harness.session.lease().renew((cookie(value=NEW),))
    await harness.session.close()
    assert harness.session.unsaved == "NotACookieFileError"
    assert harness.path.read_text() == broken


def test_file_readable_by_others_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.txt", mode=0o644)
    content = load(path)
    assert content is not None
    session = AccountSession(path, content, write_seconds=1)
    os.utime(path)
    session.reload(load(path) or content)
    assert [record.message for record in caplog.records] == [
        f"other users can read the cookie file {path}; chmod 600 it"
    ]


# Secrets


async def test_cookies_are_not_shown(
    harness: SessionHarness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    account = harness.session.lease()
    account.renew((cookie(value=NEW),))
    monkeypatch.setattr(session_module, "save", lambda *_: (_ for _ in ()).throw(OSError(NEW)))
    await harness.wait_for_write()
    shown = f"{account!r} {account} {harness.session!r} {harness.session.content!r} {caplog.text}"
    assert caplog.records
    assert SECRET not in shown
    assert NEW not in shown
    await harness.session.close()
