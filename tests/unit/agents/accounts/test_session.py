"""A session with its file, on a clock of the test's own: only the first write is at once."""

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
from agents.accounts.interface import Account, Use
from agents.accounts.session import AccountSession
from schemas.errors import ErrorCode
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import LATER, SECRET, cookie, value_in, write
from tests.unit.agents.builders import Clock

NEW = "n3w v4lue"
WRITE_SECONDS = 3_600.0
"""Longer than any test: what is not written at once is written by `close`."""


class Kit:
    def __init__(self, path: Path, *cookies: Cookie, write_seconds: float = WRITE_SECONDS) -> None:
        self.path = write(path, *cookies)
        self.clock = Clock(2_000_000_000.0)
        content = load(self.path)
        assert content is not None
        self.session = AccountSession(
            self.path,
            content,
            carriers=("sessionid",),
            write_seconds=write_seconds,
            clock=self.clock,
        )

    async def written(self) -> None:
        """Return when what has begun to be written is written."""
        for _ in range(3):
            await asyncio.sleep(0)
        writing = self.session._writing
        if writing is not None:
            await writing

    def look(self) -> None:
        """Do what the authenticator does when the file has changed."""
        content = load(self.path, self.session.content.stamp)
        if content is not None:
            self.session.adopt(content)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path / "main.txt")


def test_an_account_has_the_cookies_of_its_file(kit: Kit) -> None:
    account: Account = kit.session.lend()
    assert (account.name, account.cookies) == ("main", (cookie(),))
    assert kit.session.health.used_at == kit.clock.now


def test_what_is_over_is_not_sent(tmp_path: Path) -> None:
    kit = Kit(tmp_path / "a.txt", cookie("a", expires_at=2_000_000_005.0), cookie("b"))
    assert [each.name for each in kit.session.cookies()] == ["a", "b"]
    kit.clock.now += 5
    assert [each.name for each in kit.session.cookies()] == ["b"]


def test_what_the_choice_needs_is_told(kit: Kit) -> None:
    kit.session.tell(Use(subject="tiktok:1", needed=True))
    candidate = kit.session.candidate()
    assert (candidate.name, candidate.expires_at) == ("main", LATER)
    assert candidate.written_at == kit.path.stat().st_mtime_ns / 1e9
    assert candidate.health == AccountHealth(success_at=kit.clock.now)


async def test_what_is_set_anew_is_used_and_written_at_once(kit: Kit) -> None:
    kit.session.lend().renew((cookie(value=NEW), cookie("other", expires_at=None)))
    assert kit.session.lend().cookies == (cookie(value=NEW), cookie("other", expires_at=None))
    await kit.written()
    assert (value_in(kit.path), value_in(kit.path, "other")) == (NEW, SECRET)
    assert kit.session.lend().cookies == (cookie(value=NEW), cookie("other", expires_at=None))
    await kit.session.close()


async def test_what_is_as_it_was_is_not_written(kit: Kit) -> None:
    before = kit.path.stat()
    kit.session.lend().renew((cookie(), cookie(expires_at=LATER + 60)))
    kit.session.lend().renew(())
    await kit.written()
    await kit.session.close()
    assert kit.path.stat() == before


async def test_a_page_that_comes_late_takes_nothing_back(kit: Kit) -> None:
    """Its cookies are as they were lent, though another page has renewed them since."""
    late, early = kit.session.lend(), kit.session.lend()
    early.renew((cookie(value=NEW),))
    late.renew((cookie(),))
    assert kit.session.cookies() == (cookie(value=NEW),)
    await kit.session.close()
    assert value_in(kit.path) == NEW


async def test_the_file_is_written_every_few_seconds_at_most(kit: Kit) -> None:
    kit.session.lend().renew((cookie(value="first"),))
    await kit.written()
    for number in range(50):
        kit.session.lend().renew((cookie(value=f"value {number}"),))
        await kit.written()
    assert value_in(kit.path) == "first"
    await kit.session.close()
    assert value_in(kit.path) == "value 49"


async def test_after_a_while_it_is_written_at_once_again(kit: Kit) -> None:
    kit.session.lend().renew((cookie(value="first"),))
    await kit.written()
    kit.clock.now += WRITE_SECONDS
    kit.session.lend().renew((cookie(value="second"),))
    await kit.written()
    assert value_in(kit.path) == "second"


async def test_what_comes_during_a_write_is_written_next(tmp_path: Path) -> None:
    kit = Kit(tmp_path / "a.txt", write_seconds=0.001)
    kit.session.lend().renew((cookie(value="first"),))
    await asyncio.sleep(0)
    kit.session.lend().renew((cookie(value="second"),))
    async with asyncio.timeout(5):
        while kit.session._renewals:
            await kit.written()
    assert value_in(kit.path) == "second"


async def test_closing_twice_writes_once(kit: Kit) -> None:
    kit.session.lend().renew((cookie(value=NEW),))
    await kit.session.close()
    before = kit.path.stat()
    await kit.session.close()
    assert kit.path.stat() == before
    assert value_in(kit.path) == NEW


# Others at the file


def refused(kit: Kit) -> None:
    kit.session.tell(Use(subject="tiktok:1", needed=True, code=ErrorCode.CONTENT_LOGIN_REQUIRED))
    kit.session.tell(Use(subject="tiktok:2", needed=True, code=ErrorCode.RATE_LIMIT_ACCOUNT))


async def test_an_owners_file_is_a_new_beginning(kit: Kit) -> None:
    kit.session.lend()
    refused(kit)
    kit.session.renew((cookie("other"),))
    write(kit.path, cookie(value="mine"))
    kit.look()
    assert kit.session.cookies() == (cookie(value="mine"),)
    assert kit.session.health == AccountHealth(used_at=kit.clock.now)
    await kit.session.close()
    assert "other" not in kit.path.read_text()


async def test_an_owner_who_is_met_while_writing_wins(kit: Kit) -> None:
    refused(kit)
    write(kit.path, cookie(value="mine"))
    kit.session.lend().renew((cookie(value=NEW),))
    await kit.written()
    assert value_in(kit.path) == "mine"
    assert kit.session.cookies() == (cookie(value="mine"),)
    assert kit.session.health == AccountHealth(used_at=kit.clock.now)
    await kit.session.close()
    assert value_in(kit.path) == "mine"


async def test_what_another_process_wrote_is_used(kit: Kit) -> None:
    refused(kit)
    before = kit.session.health
    other = Kit(kit.path)
    kit.session.content = other.session.content
    other.session.lend().renew((cookie(value="theirs"),))
    await other.written()
    kit.look()
    assert kit.session.cookies() == (cookie(value="theirs"),)
    assert kit.session.health.refused_for == ()
    assert kit.session.health.resting_until == before.resting_until
    await kit.session.close()
    assert value_in(kit.path) == "theirs"


async def test_a_process_that_is_writing_is_waited_for(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_arguments: object) -> None:
        raise BusyError

    with monkeypatch.context() as patch:
        patch.setattr(session_module, "save", busy)
        kit.session.lend().renew((cookie(value=NEW),))
        await kit.written()
    assert kit.session.unsaved is None
    await kit.session.close()
    assert value_in(kit.path) == NEW


# A file that cannot be written


async def test_what_cannot_be_written_is_used_and_told_once(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(*_arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(session_module, "save", read_only)
        for value in ("first", "second", NEW):
            kit.session.lend().renew((cookie(value=value),))
            await kit.written()
            kit.clock.now += WRITE_SECONDS
    assert kit.session.unsaved == "Read-only file system"
    assert kit.session.cookies() == (cookie(value=NEW),)
    assert [record.message.count("Read-only") for record in caplog.records] == [1]
    kit.session.lend().renew((cookie(value=NEW), cookie("other")))
    await kit.written()
    assert not kit.session.unsaved
    assert value_in(kit.path) == NEW


async def test_what_cannot_be_written_does_not_grow_without_end(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(session_module, "save", read_only)
    for page in range(COOKIES_MAX // 20):
        names = [f"p{page}-{number}" for number in range(64)]
        kit.session.lend().renew((cookie(value=f"v{page}"), *map(cookie, names)))
        await kit.written()
    kit.session.lend().renew((cookie("p0-0", NEW), cookie(value=NEW)))
    cookies = {each.name: each.value for each in kit.session.cookies()}
    assert len(cookies) == COOKIES_MAX
    assert cookies["sessionid"] == cookies["p0-0"] == NEW


async def test_a_file_that_is_full_gets_no_new_ones_and_is_not_written_for_them(
    tmp_path: Path,
) -> None:
    kit = Kit(tmp_path / "a.txt", *(cookie(f"n{number}") for number in range(COOKIES_MAX)))
    before = kit.path.stat()
    kit.session.lend().renew((cookie("new"),))
    await kit.written()
    await kit.session.close()
    assert kit.path.stat() == before
    assert len(kit.session.cookies()) == COOKIES_MAX


async def test_a_name_of_a_file_writes_no_line_of_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kit = Kit(tmp_path / "a\nERROR b.txt")
    kit.path.chmod(0o644)
    kit.look()
    monkeypatch.setattr(session_module, "save", lambda *_: (_ for _ in ()).throw(OSError(30, "x")))
    kit.session.lend().renew((cookie(value=NEW),))
    await kit.written()
    shown = [*(each.message for each in caplog.records), repr(kit.session), kit.session.name]
    assert all(each.isprintable() for each in shown)
    assert [each.levelname for each in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("broken", ["not a cookie file", ""])
async def test_a_file_that_is_none_any_more_is_left(kit: Kit, broken: str) -> None:
    kit.path.write_text(broken)
    kit.session.lend().renew((cookie(value=NEW),))
    await kit.session.close()
    assert kit.session.unsaved == "NotACookieFileError"
    assert kit.path.read_text() == broken


def test_a_file_that_others_may_read_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.txt", mode=0o644)
    content = load(path)
    assert content is not None
    session = AccountSession(path, content, write_seconds=1)
    os.utime(path)
    session.adopt(load(path) or content)
    assert [record.message for record in caplog.records] == [
        f"others may read the cookie file {path}; chmod 600 it"
    ]


# Secrets


async def test_no_text_shows_a_cookie(
    kit: Kit, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    account = kit.session.lend()
    account.renew((cookie(value=NEW),))
    monkeypatch.setattr(session_module, "save", lambda *_: (_ for _ in ()).throw(OSError(NEW)))
    await kit.written()
    shown = f"{account!r} {account} {kit.session!r} {kit.session.content!r} {caplog.text}"
    assert caplog.records
    assert SECRET not in shown
    assert NEW not in shown
    await kit.session.close()
