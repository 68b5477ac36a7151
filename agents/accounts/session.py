"""The session of one account: its cookies now, and keeping what the platform sets anew.

Belongs to one event loop; only writing the file is done in a thread.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from agents.accounts.cookie_file import Content, shown
from agents.accounts.cookie_saving import BusyError, Renewal, changed, login_ends_at, save
from agents.accounts.cookie_sets import account_name
from agents.accounts.cookie_text import (
    COOKIES_MAX,
    Key,
    NotACookieFileError,
    key_of,
    unexpired,
)
from agents.accounts.health import AccountHealth, Candidate, after_use, not_ahead
from agents.accounts.interface import Use
from schemas.video import Cookie

_log = logging.getLogger(__name__)


class AccountLease:
    """An account for one request; knows with which cookies it was lent."""

    def __init__(self, session: "AccountSession") -> None:
        self._session = session
        self.name = session.name
        self.cookies = session.cookies()

    def __repr__(self) -> str:
        """Return its name, and none of its cookies."""
        return f"<account {self.name}>"

    def renew(self, cookies: tuple[Cookie, ...]) -> None:
        """Remember the cookies that are not as they were lent."""
        self._session.renew(changed(self.cookies, cookies))


class AccountSession:
    """The session of one account.

    Args:
        path: its cookie file.
        content: what that says.
        carriers: names of the cookies that carry the login; see `login_ends_at`.
        write_seconds: least time between two writes of the file.
        clock: tells the time, epoch seconds.

    Attributes:
        content: what the file said last.
        health: how the account fares.
        unsaved: why what was set anew cannot be written; None when all is well.
    """

    def __init__(
        self,
        path: Path,
        content: Content,
        *,
        carriers: Collection[str] = (),
        write_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = account_name(path)
        self.path = path
        self.content = content
        self.health = AccountHealth()
        self.unsaved: str | None = None
        self._carriers = frozenset(carriers)
        self._write_seconds = write_seconds
        self._clock = clock
        self._renewals: dict[Key, Renewal] = {}
        self._wrote_at = -write_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._exposure_told = False
        self._warn_if_exposed()

    def __repr__(self) -> str:
        """Return its file, and none of its cookies."""
        return f"<session of {shown(self.path)}>"

    @property
    def is_being_written(self) -> bool:
        """Whether it is about to learn what the file says."""
        return self._writing is not None

    def cookies(self) -> tuple[Cookie, ...]:
        """Return the cookies of this moment."""
        return unexpired(self._cookies(), self._clock())

    def candidate(self) -> Candidate:
        """Return what a choice between accounts needs to know."""
        self.health = not_ahead(self.health, self._clock())
        return Candidate(
            name=self.name,
            health=self.health,
            written_at=self.content.written_at,
            expires_at=login_ends_at(self._cookies(), self._carriers),
        )

    def lend(self) -> AccountLease:
        """Return the account for one request."""
        self.health = msgspec.structs.replace(self.health, used_at=self._clock())
        return AccountLease(self)

    def tell(self, use: Use) -> None:
        """Take note of how a request ended."""
        self.health = after_use(self.health, use, self._clock())

    def adopt(self, content: Content) -> None:
        """Take over what the file says now that somebody else has written it.

        Its owner's cookies are a new beginning. What another process has written shows that the
        login lives; renewals of this process that are newer are still to be written.
        """
        if content.ours:
            health = msgspec.structs.replace(self.health, refused_for=())
            newer = {k: each for k, each in self._renewals.items() if each.at > content.written_at}
        else:
            health, newer = AccountHealth(used_at=self.health.used_at), {}
        self.content, self.health, self._renewals = content, health, newer
        self._warn_if_exposed()

    def renew(self, cookies: Sequence[Cookie]) -> None:
        """Use these cookies from now on, and write them as soon as it is time."""
        at = self._clock()
        taken = self._with_room(cookies)
        self._renewals |= {key: Renewal(each, at) for key, each in taken.items()}
        if taken and self._timer is None and self._writing is None:
            # The clock may have been set back since.
            self._schedule(min(self._write_seconds, self._wrote_at + self._write_seconds - at))

    async def close(self) -> None:
        """Write what is still to be written."""
        if self._writing is not None:
            await self._writing
        if self._timer is not None:
            self._timer.cancel()
        if self._renewals:
            await self._write()

    def _cookies(self) -> tuple[Cookie, ...]:
        read = {key_of(each): each for each in self.content.cookies}
        return tuple((read | {key: each.cookie for key, each in self._renewals.items()}).values())

    def _with_room(self, cookies: Sequence[Cookie]) -> dict[Key, Cookie]:
        """Return the cookies without the new ones for which a file of `COOKIES_MAX` has no room."""
        known = {key_of(each) for each in self.content.cookies} | self._renewals.keys()
        taken: dict[Key, Cookie] = {}
        for each in cookies:
            if key_of(each) in known or len(known) < COOKIES_MAX:
                known.add(key_of(each))
                taken[key_of(each)] = each
        return taken

    def _schedule(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._start)

    def _start(self) -> None:
        self._timer = None
        self._writing = asyncio.get_running_loop().create_task(self._write())
        self._writing.add_done_callback(self._go_on)

    def _go_on(self, task: asyncio.Task[None]) -> None:
        self._writing = None
        # What could not be written waits for the next renewal: there may never be a way.
        if self._renewals and self.unsaved is None and not task.cancelled():
            self._schedule(self._write_seconds)

    async def _write(self) -> None:
        """Write the renewals; those that come meanwhile are left for the next time."""
        known, written = self.content.stamp, dict(self._renewals)
        self._wrote_at = self._clock()
        try:
            content = await asyncio.to_thread(save, self.path, written, known, self._wrote_at)
        except BusyError:
            return
        except (OSError, NotACookieFileError) as error:
            self._note_unsaved(error)
            return
        self.unsaved = None
        if content.stamp != known and not content.ours:
            self.adopt(content)
            return
        self.content = content
        self._renewals = {k: r for k, r in self._renewals.items() if written.get(k) is not r}

    def _note_unsaved(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or type(error).__name__
        if self.unsaved is None:
            _log.warning(
                "the cookie file %s cannot be renewed (%s): what the platform sets anew is lost"
                " when this process ends; let it write the file and its folder",
                shown(self.path),
                reason,
            )
        self.unsaved = reason

    def _warn_if_exposed(self) -> None:
        if self.content.exposed and not self._exposure_told:
            self._exposure_told = True
            _log.warning("others may read the cookie file %s; chmod 600 it", shown(self.path))
