"""The built-in `Authenticator`: one account per cookie file, selected by health.

Files and folders are polled for changes on every `log_in`; reads run in a thread. While another
account of the platform can be used, an unusable file is only logged, once per reason.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from agents.accounts.cookie_file import (
    ADVICE,
    Content,
    FileFingerprint,
    UnusableFileError,
    account_files,
    account_name,
    account_names,
    load,
    printable,
)
from agents.accounts.cookie_text import has_cookie_for
from agents.accounts.health import choose, is_usable, next_available_at
from agents.accounts.interface import Account, AccountStatus, AccountUse, LoginSettings
from agents.accounts.session import AccountLease, AccountSession
from schemas.errors import ClipmillError, ErrorCode

_log = logging.getLogger(__name__)

PollResult = tuple[Mapping[str, Path], Mapping[str, Content | UnusableFileError]]
"""The files by account, and the changed ones of them: new content, or why they are unusable."""


class CookieFiles:
    """The accounts of all platforms; belongs to one event loop.

    Args:
        settings: where the files are.
        clock: epoch seconds.
    """

    def __init__(self, settings: LoginSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._sessions: dict[str, dict[str, AccountSession]] = {}
        self._warnings: dict[str, Mapping[Path, str]] = {}
        self._unusable: dict[str, tuple[str, ...]] = {}
        # By platform, files without a cookie for it, in the version that was checked.
        self._foreign: dict[str, dict[Path, FileFingerprint]] = {}

    def accounts(self, platform: str) -> tuple[str, ...]:
        """Return the names of the platform's accounts; a folder that is missing counts as one."""
        return account_names(self._settings.cookie_files.get(platform, ()))

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> AccountLease | None:
        """See `Authenticator.log_in`."""
        if platform not in self._settings.cookie_files:
            return None
        broken = await self._poll(platform)
        sessions = self._sessions[platform]
        others = [each for name, each in sessions.items() if name not in avoid]
        avoided = [each for name, each in sessions.items() if name in avoid]
        found = self._best(platform, others) or self._best(platform, avoided)
        if found is None and not sessions and broken:
            raise _unusable(platform, *next(iter(broken.items())))
        return None if found is None else found.lease()

    def record_use(self, platform: str, account: Account, use: AccountUse) -> None:
        """See `Authenticator.record_use`."""
        session = self._sessions.get(platform, {}).get(account.name)
        if session is not None:
            session.record_use(use)

    def health_report(self) -> Sequence[AccountStatus]:
        """Return the status of the accounts polled so far; unusable files as unhealthy ones."""
        used = [
            self._status(platform, session)
            for platform, sessions in self._sessions.items()
            for session in sessions.values()
        ]
        unusable = [
            AccountStatus(platform=platform, account=name, healthy=False)
            for platform, names in self._unusable.items()
            for name in names
        ]
        return used + unusable

    async def close(self) -> None:
        """Write all pending renewals."""
        for sessions in self._sessions.values():
            for session in sessions.values():
                await session.close()

    def _best(self, platform: str, sessions: Iterable[AccountSession]) -> AccountSession | None:
        """Return the session to use, None when there is none.

        Raises:
            ClipmillError: ``rate_limit.account``; every usable one is in its cooldown.
        """
        now = self._clock()
        by_name = {each.name: each for each in sessions}
        candidates = [each.candidate() for each in by_name.values()]
        chosen = choose(candidates, now)
        if chosen is not None:
            return by_name[chosen.name]
        until = next_available_at(candidates, now)
        if until is not None:
            raise _resting(platform, until - now)
        return None

    async def _poll(self, platform: str) -> Mapping[str, UnusableFileError]:
        """Apply the changes on disk to the sessions; return the unusable files by account.

        Raises:
            ClipmillError: ``system.config``; a folder cannot be listed, or has too many files.
        """
        sessions = self._sessions.setdefault(platform, {})
        foreign = self._foreign.setdefault(platform, {})
        known = {each.path: each.content.fingerprint for each in sessions.values()} | foreign
        locations = self._settings.cookie_files[platform]
        try:
            files, changes = await asyncio.to_thread(_poll_files, locations, known)
        except UnusableFileError as error:
            self._log_new(platform, {error.path: str(error)})
            raise _unlisted(platform, error.reason) from None
        broken: dict[str, UnusableFileError] = {}
        for name, change in changes.items():
            path = files[name]
            foreign.pop(path, None)
            if isinstance(change, UnusableFileError):
                broken[name] = change
            elif self._is_account(platform, change):
                self._apply(platform, path, change, known)
            else:
                foreign[path] = change.fingerprint
        for path in foreign.keys() - files.values():
            del foreign[path]
        self._unusable[platform] = tuple(
            name for name, path in files.items() if name in broken or path in foreign
        )
        for name in {*(sessions.keys() - files.keys()), *self._unusable[platform]}:
            sessions.pop(name, None)
        self._log_new(platform, self._warnings_of(platform, broken.values()))
        return broken

    def _warnings_of(self, platform: str, broken: Iterable[UnusableFileError]) -> dict[Path, str]:
        warnings = {each.path: str(each) for each in broken}
        warnings |= {path: self._no_account(platform, path) for path in self._foreign[platform]}
        for session in self._sessions[platform].values():
            issues = self._issues(platform, session.content)
            if issues:
                shown = printable(session.path)
                warnings[session.path] = f"the cookie file {shown} is used with defects: {issues}"
        return warnings

    def _is_account(self, platform: str, content: Content) -> bool:
        hosts = self._settings.hosts.get(platform, ())
        return not hosts or has_cookie_for(content.cookies, hosts)

    def _issues(self, platform: str, content: Content) -> str:
        """Return the issues of a file that is used all the same."""
        issues = []
        if content.format_issues is not None:
            issues.append(f"parts of it are not in Netscape's format; {content.format_issues}")
        names = self._settings.session_cookies.get(platform, ())
        if names and not any(each.name in names for each in content.cookies):
            issues.append(f"it has no {' or '.join(names)}; was it exported while logged in?")
        return "; ".join(issues)

    def _no_account(self, platform: str, path: Path) -> str:
        host = self._settings.hosts[platform][0]
        return (
            f"the cookie file {printable(path)} is not an account for {platform}: it has no cookie"
            f" that is sent to {host}; log in there, and export the cookies of that site"
        )

    def _apply(
        self, platform: str, path: Path, content: Content, known: Mapping[Path, FileFingerprint]
    ) -> None:
        sessions, name = self._sessions[platform], account_name(path)
        session = sessions.get(name)
        if session is None:
            sessions[name] = AccountSession(
                path,
                content,
                session_cookies=self._settings.session_cookies.get(platform, ()),
                write_seconds=self._settings.write_seconds,
                clock=self._clock,
            )
        elif session.content.fingerprint == known.get(path) and not session.is_writing:
            # Otherwise the session wrote the file during the poll: its own content is newer.
            session.reload(content)

    def _log_new(self, platform: str, warnings: Mapping[Path, str]) -> None:
        """Log the warnings that the previous poll did not have."""
        before = self._warnings.get(platform, {})
        for path, message in warnings.items():
            if before.get(path) != message:
                _log.warning("%s", message)
        self._warnings[platform] = warnings

    def _status(self, platform: str, session: AccountSession) -> AccountStatus:
        candidate = session.candidate()
        return AccountStatus(
            platform=platform,
            account=session.name,
            healthy=is_usable(candidate, self._clock()),
            last_success_at=session.health.success_at,
            expires_at=candidate.expires_at,
            unsaved=session.unsaved is not None,
        )


def _poll_files(locations: Sequence[Path], known: Mapping[Path, FileFingerprint]) -> PollResult:
    files = account_files(locations)
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


# Errors reach clients: they name accounts; paths are for the log.


def _unusable(platform: str, account: str, error: UnusableFileError) -> ClipmillError:
    return ClipmillError(
        ErrorCode.SYSTEM_CONFIG,
        f"no usable account for {platform}; the cookie file of {account}: {error.reason}; {ADVICE}",
    )


def _unlisted(platform: str, reason: str) -> ClipmillError:
    return ClipmillError(
        ErrorCode.SYSTEM_CONFIG,
        f"no usable account for {platform}; a folder of cookie files cannot be listed:"
        f" {reason}; correct auth.cookie_files",
    )


def _resting(platform: str, seconds: float) -> ClipmillError:
    error = ClipmillError(
        ErrorCode.RATE_LIMIT_ACCOUNT,
        f"no attempt was made: all usable accounts for {platform} are paused",
        retry_after=seconds,
    )
    error.permitted = False
    return error
