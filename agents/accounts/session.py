"""The session of one account: its cookie jar in memory, and write-behind of it to its file.

A renewal is used at once; the file is written at most every ``write_seconds``. A session belongs to
one event loop; only the file write runs in a thread.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from agents.accounts.cookie_file import Content, account_name, printable
from agents.accounts.cookie_saving import (
    BusyError,
    Renewal,
    changed_cookies,
    login_expires_at,
    save,
)
from agents.accounts.cookie_text import (
    COOKIES_MAX,
    CookieKey,
    NotACookieFileError,
    key_of,
    unexpired,
)
from agents.accounts.health import AccountHealth, Candidate, after_use, without_future_times
from agents.accounts.interface import AccountUse
from schemas.video import Cookie

_log = logging.getLogger(__name__)


class AccountLease:
    """An account leased to one request, with a snapshot of its cookies."""

    def __init__(self, session: "AccountSession") -> None:
        self._session = session
        self.name = session.name
        self.cookies = session.cookies()

    def __repr__(self) -> str:
        """Return the name, no cookies."""
        return f"<account {self.name}>"

    def renew(self, cookies: tuple[Cookie, ...]) -> None:
        """Record the cookies that differ from the snapshot."""
        self._session.renew(changed_cookies(self.cookies, cookies))


class AccountSession:
    """The session of one account.

    Args:
        path: its cookie file.
        content: of the file.
        session_cookies: names of the cookies that carry the login; see `login_expires_at`.
        write_seconds: minimum interval between two writes of the file.
        clock: epoch seconds.

    Attributes:
        content: of the file, as last read or written.
        health: of the account.
        unsaved: why the last write failed; None when it succeeded.
    """

    def __init__(
        self,
        path: Path,
        content: Content,
        *,
        session_cookies: Collection[str] = (),
        write_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = account_name(path)
        self.path = path
        self.content = content
        self.health = AccountHealth()
        self.unsaved: str | None = None
        self._session_cookies = frozenset(session_cookies)
        self._write_seconds = write_seconds
        self._clock = clock
        self._renewals: dict[CookieKey, Renewal] = {}
        self._wrote_at = -write_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._exposure_logged = False
        self._warn_if_exposed()

    def __repr__(self) -> str:
        """Return the file, no cookies."""
        return f"<session of {printable(self.path)}>"

    @property
    def is_writing(self) -> bool:
        """Whether a write, which also reads the content, is in flight."""
        return self._writing is not None

    def cookies(self) -> tuple[Cookie, ...]:
        return unexpired(self._cookies(), self._clock())

    def candidate(self) -> Candidate:
        """Return the input of `agents.accounts.health.choose`."""
        self.health = without_future_times(self.health, self._clock())
        return Candidate(
            name=self.name,
            health=self.health,
            written_at=self.content.written_at,
            expires_at=login_expires_at(self._cookies(), self._session_cookies),
        )

    def lease(self) -> AccountLease:
        """Lease the account to one request."""
        self.health = msgspec.structs.replace(self.health, used_at=self._clock())
        return AccountLease(self)

    def record_use(self, use: AccountUse) -> None:
        self.health = after_use(self.health, use, self._clock())

    def reload(self, content: Content) -> None:
        """Apply a version of the file that this session did not write.

        A version of the owner resets health and pending renewals. One of another clipmill process
        shows that the login is valid; newer renewals of this process stay pending.
        """
        if content.is_own_write:
            health = msgspec.structs.replace(self.health, refused_for=())
            newer = {k: each for k, each in self._renewals.items() if each.at > content.written_at}
        else:
            health, newer = AccountHealth(used_at=self.health.used_at), {}
        self.content, self.health, self._renewals = content, health, newer
        self._warn_if_exposed()

    def renew(self, cookies: Sequence[Cookie]) -> None:
        """Use these cookies from now on, and schedule the write of the file."""
        at = self._clock()
        accepted = self._within_limit(cookies)
        self._renewals |= {key: Renewal(each, at) for key, each in accepted.items()}
        if accepted and self._timer is None and self._writing is None:
            # Bounded: the clock may have been set back since the last write.
            self._schedule(min(self._write_seconds, self._wrote_at + self._write_seconds - at))

    async def close(self) -> None:
        """Write all pending renewals."""
        if self._writing is not None:
            await self._writing
        if self._timer is not None:
            self._timer.cancel()
        if self._renewals:
            await self._write()

    def _cookies(self) -> tuple[Cookie, ...]:
        saved = {key_of(each): each for each in self.content.cookies}
        return tuple((saved | {key: each.cookie for key, each in self._renewals.items()}).values())

    def _within_limit(self, cookies: Sequence[Cookie]) -> dict[CookieKey, Cookie]:
        """Drop new cookies beyond `COOKIES_MAX`; renewals of known ones are always accepted."""
        known = {key_of(each) for each in self.content.cookies} | self._renewals.keys()
        accepted: dict[CookieKey, Cookie] = {}
        for each in cookies:
            if key_of(each) in known or len(known) < COOKIES_MAX:
                known.add(key_of(each))
                accepted[key_of(each)] = each
        return accepted

    def _schedule(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._start_write)

    def _start_write(self) -> None:
        self._timer = None
        self._writing = asyncio.get_running_loop().create_task(self._write())
        self._writing.add_done_callback(self._on_written)

    def _on_written(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        # A failed write is retried with the next renewal only: the folder may be read-only.
        if self._renewals and self.unsaved is None and not task.cancelled():
            self._schedule(self._write_seconds)

    async def _write(self) -> None:
        """Write the renewals; ones recorded meanwhile stay pending."""
        known, written = self.content.fingerprint, dict(self._renewals)
        self._wrote_at = self._clock()
        try:
            content = await asyncio.to_thread(save, self.path, written, known, self._wrote_at)
        except BusyError:
            return
        except (OSError, NotACookieFileError) as error:
            self._record_write_failure(error)
            return
        self.unsaved = None
        if content.fingerprint != known and not content.is_own_write:
            self.reload(content)
            return
        self.content = content
        self._renewals = {k: r for k, r in self._renewals.items() if written.get(k) is not r}

    def _record_write_failure(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or type(error).__name__
        if self.unsaved is None:
            _log.warning(
                "the cookie file %s cannot be renewed (%s): cookies set by the platform are lost"
                " when this process ends; grant write access to the file and its folder",
                printable(self.path),
                reason,
            )
        self.unsaved = reason

    def _warn_if_exposed(self) -> None:
        if self.content.exposed and not self._exposure_logged:
            self._exposure_logged = True
            _log.warning(
                "other users can read the cookie file %s; chmod 600 it", printable(self.path)
            )
