"""An `Authenticator` whose accounts are cookie files: several of a platform, chosen by health."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from agents.accounts.cookie_file import (
    ADVICE,
    Content,
    Stamp,
    UnusableFileError,
    load,
    shown,
)
from agents.accounts.cookie_sets import account_files, account_name, account_names
from agents.accounts.cookie_text import is_for
from agents.accounts.health import choose, may_be_used, rested_at
from agents.accounts.interface import Account, LoginSettings, Standing, Use
from agents.accounts.session import AccountLease, AccountSession
from schemas.errors import ClipmillError, ErrorCode

_log = logging.getLogger(__name__)

Look = tuple[Mapping[str, Path], Mapping[str, Content | UnusableFileError]]
"""The files by account; and what those say that have changed, or why they cannot be used."""


class CookieFiles:
    """The accounts of cookie files. Files and folders are looked at again for every page.

    Args:
        settings: where the files are.
        clock: tells the time, epoch seconds.
    """

    def __init__(self, settings: LoginSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._sessions: dict[str, dict[str, AccountSession]] = {}
        self._complaints: dict[str, Mapping[Path, str]] = {}
        self._unusable: dict[str, tuple[str, ...]] = {}
        # Files without cookies of their platform, in this state.
        self._strangers: dict[str, dict[Path, Stamp]] = {}

    def accounts(self, platform: str) -> tuple[str, ...]:
        """Return the names of the platform's files; a folder that is not here counts as one."""
        return account_names(self._settings.cookie_files.get(platform, ()))

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> AccountLease | None:
        """Return the account to use now; see `Authenticator`."""
        if platform not in self._settings.cookie_files:
            return None
        broken = await self._look(platform)
        sessions = self._sessions[platform]
        others = [each for name, each in sessions.items() if name not in avoid]
        avoided = [each for name, each in sessions.items() if name in avoid]
        found = self._best(platform, others) or self._best(platform, avoided)
        if found is None and not sessions and broken:
            raise _unusable(platform, *next(iter(broken.items())))
        return None if found is None else found.lend()

    def tell(self, platform: str, account: Account, use: Use) -> None:
        """Take note of how a request with an account ended."""
        session = self._sessions.get(platform, {}).get(account.name)
        if session is not None:
            session.tell(use)

    def health_report(self) -> Sequence[Standing]:
        """Return how the accounts fare that are known so far; files that are none, badly."""
        used = [
            self._standing(platform, session)
            for platform, sessions in self._sessions.items()
            for session in sessions.values()
        ]
        unusable = [
            Standing(platform=platform, account=name, healthy=False)
            for platform, names in self._unusable.items()
            for name in names
        ]
        return used + unusable

    async def close(self) -> None:
        """Write what is still to be written."""
        for sessions in self._sessions.values():
            for session in sessions.values():
                await session.close()

    def _best(self, platform: str, sessions: Iterable[AccountSession]) -> AccountSession | None:
        """Return the session to use, None when there is none.

        Raises:
            ClipmillError: ``rate_limit.account``; those that could be used are resting.
        """
        now = self._clock()
        by_name = {each.name: each for each in sessions}
        candidates = [each.candidate() for each in by_name.values()]
        chosen = choose(candidates, now)
        if chosen is not None:
            return by_name[chosen.name]
        until = rested_at(candidates, now)
        if until is not None:
            raise _resting(platform, until - now)
        return None

    async def _look(self, platform: str) -> Mapping[str, UnusableFileError]:
        """Take over what has changed on disk; return why files cannot be used, by account.

        Raises:
            ClipmillError: ``system.config``; a folder cannot be listed, or has too many files.
        """
        sessions = self._sessions.setdefault(platform, {})
        strangers = self._strangers.setdefault(platform, {})
        known = {each.path: each.content.stamp for each in sessions.values()} | strangers
        places = self._settings.cookie_files[platform]
        try:
            files, changes = await asyncio.to_thread(_look_at, places, known)
        except UnusableFileError as error:
            self._complain(platform, {error.path: str(error)})
            raise _unlisted(platform, error.reason) from None
        broken: dict[str, UnusableFileError] = {}
        for name, change in changes.items():
            path = files[name]
            strangers.pop(path, None)
            if isinstance(change, UnusableFileError):
                broken[name] = change
            elif self._is_account(platform, change):
                self._take_over(platform, path, change, known)
            else:
                strangers[path] = change.stamp
        for path in strangers.keys() - files.values():
            del strangers[path]
        self._unusable[platform] = tuple(
            name for name, path in files.items() if name in broken or path in strangers
        )
        for name in {*(sessions.keys() - files.keys()), *self._unusable[platform]}:
            sessions.pop(name, None)
        self._complain(platform, self._complaints_of(platform, broken.values()))
        return broken

    def _complaints_of(self, platform: str, broken: Iterable[UnusableFileError]) -> dict[Path, str]:
        """Return what there is to be said of files, by path."""
        said = {each.path: str(each) for each in broken}
        said |= {path: self._no_account(platform, path) for path in self._strangers[platform]}
        for session in self._sessions[platform].values():
            doubts = self._doubts(platform, session.content)
            if doubts:
                said[session.path] = f"the cookie file {shown(session.path)} is used: {doubts}"
        return said

    def _is_account(self, platform: str, content: Content) -> bool:
        hosts = self._settings.hosts.get(platform, ())
        return not hosts or is_for(content.cookies, hosts)

    def _doubts(self, platform: str, content: Content) -> str:
        """Return what is wrong with a file that can be used."""
        said = []
        if content.oddities is not None:
            said.append(f"not all of it is in Netscape's format; {content.oddities}")
        carriers = self._settings.session_cookies.get(platform, ())
        if carriers and not any(each.name in carriers for each in content.cookies):
            said.append(f"it has no {' or '.join(carriers)}; was it exported while logged in?")
        return "; ".join(said)

    def _no_account(self, platform: str, path: Path) -> str:
        host = self._settings.hosts[platform][0]
        return (
            f"the cookie file {shown(path)} is no account for {platform}: it has no cookie that is"
            f" sent to {host}; log in there, and export the cookies of that site"
        )

    def _take_over(
        self, platform: str, path: Path, content: Content, known: Mapping[Path, Stamp]
    ) -> None:
        sessions, name = self._sessions[platform], account_name(path)
        session = sessions.get(name)
        if session is None:
            sessions[name] = AccountSession(
                path,
                content,
                carriers=self._settings.session_cookies.get(platform, ()),
                write_seconds=self._settings.write_seconds,
                clock=self._clock,
            )
        elif session.content.stamp == known.get(path) and not session.is_being_written:
            # Otherwise it has learned of it itself meanwhile.
            session.adopt(content)

    def _complain(self, platform: str, broken: Mapping[Path, str]) -> None:
        """Log, once, what is wrong with files: as long as others can be used, nothing fails."""
        before = self._complaints.get(platform, {})
        for path, message in broken.items():
            if before.get(path) != message:
                _log.warning("%s", message)
        self._complaints[platform] = broken

    def _standing(self, platform: str, session: AccountSession) -> Standing:
        candidate = session.candidate()
        return Standing(
            platform=platform,
            account=session.name,
            healthy=may_be_used(candidate, self._clock()),
            last_success_at=session.health.success_at,
            expires_at=candidate.expires_at,
            unsaved=session.unsaved is not None,
        )


def _look_at(places: Sequence[Path], known: Mapping[Path, Stamp]) -> Look:
    files = account_files(places)
    changes: dict[str, Content | UnusableFileError] = {}
    for name, path in files.items():
        try:
            content = load(path, known.get(path))
        except UnusableFileError as error:
            changes[name] = error
        else:
            if content is not None:
                changes[name] = content
    return files, changes


# What a client is told names accounts; paths are for the log.


def _unusable(platform: str, account: str, error: UnusableFileError) -> ClipmillError:
    return ClipmillError(
        ErrorCode.SYSTEM_CONFIG,
        f"no account for {platform} can be used; the cookie file of {account}: {error.reason};"
        f" {ADVICE}",
    )


def _unlisted(platform: str, reason: str) -> ClipmillError:
    return ClipmillError(
        ErrorCode.SYSTEM_CONFIG,
        f"no account for {platform} can be used; a folder of cookie files cannot be listed:"
        f" {reason}; correct auth.cookie_files",
    )


def _resting(platform: str, seconds: float) -> ClipmillError:
    error = ClipmillError(
        ErrorCode.RATE_LIMIT_ACCOUNT,
        f"nothing was tried: all accounts for {platform} that can be used are resting",
        retry_after=seconds,
    )
    error.permitted = False
    return error
