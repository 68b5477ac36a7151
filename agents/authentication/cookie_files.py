"""An `Authenticator` whose accounts are cookie files: several of a platform, chosen by health."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from agents.authentication.cookie_file import Content, Stamp, load
from agents.authentication.cookie_sets import account_files, account_name, account_names
from agents.authentication.health import choose, may_be_used, rested_at
from agents.authentication.interface import Account, LoginSettings, Standing, Use
from agents.authentication.living_session import LentAccount, LivingSession
from schemas.errors import ClipmillError, ErrorCode

_log = logging.getLogger(__name__)

Look = tuple[Mapping[str, Path], Mapping[str, Content | ClipmillError]]
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
        self._sessions: dict[str, dict[str, LivingSession]] = {}
        self._complaints: dict[str, Mapping[Path, str]] = {}

    def accounts(self, platform: str) -> tuple[str, ...]:
        """Return the names of the platform's files; a folder that is not here counts as one."""
        return account_names(self._settings.cookie_files.get(platform, ()))

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> LentAccount | None:
        """Return the account to use now; see `Authenticator`."""
        if platform not in self._settings.cookie_files:
            return None
        broken = await self._look(platform)
        sessions = self._sessions[platform]
        others = [each for name, each in sessions.items() if name not in avoid]
        avoided = [each for name, each in sessions.items() if name in avoid]
        found = self._best(platform, others) or self._best(platform, avoided)
        if found is None and not sessions and broken:
            raise broken[0]
        return None if found is None else found.lend()

    def tell(self, platform: str, account: Account, use: Use) -> None:
        """Take note of how a request with an account ended."""
        session = self._sessions.get(platform, {}).get(account.name)
        if session is not None:
            session.tell(use)

    def standings(self) -> Sequence[Standing]:
        """Return how the accounts fare that are known so far."""
        return [
            self._standing(platform, session)
            for platform, sessions in self._sessions.items()
            for session in sessions.values()
        ]

    async def close(self) -> None:
        """Write what is still to be written."""
        for sessions in self._sessions.values():
            for session in sessions.values():
                await session.close()

    def _best(self, platform: str, sessions: Iterable[LivingSession]) -> LivingSession | None:
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

    async def _look(self, platform: str) -> list[ClipmillError]:
        """Take over what has changed on disk; return why files cannot be used.

        Raises:
            ClipmillError: ``system.config``; a folder cannot be listed, or has too many files.
        """
        sessions = self._sessions.setdefault(platform, {})
        known = {each.path: each.content.stamp for each in sessions.values()}
        places = self._settings.cookie_files[platform]
        files, changes = await asyncio.to_thread(_look_at, places, known)
        for name in sessions.keys() - files.keys():
            del sessions[name]
        for name, change in changes.items():
            if isinstance(change, Content):
                self._take_over(platform, files[name], change, known)
        broken = {name: each for name, each in changes.items() if isinstance(each, ClipmillError)}
        for name in broken:
            sessions.pop(name, None)
        self._complain(platform, {files[name]: each.message for name, each in broken.items()})
        return list(broken.values())

    def _take_over(
        self, platform: str, path: Path, content: Content, known: Mapping[Path, Stamp]
    ) -> None:
        sessions, name = self._sessions[platform], account_name(path)
        session = sessions.get(name)
        if session is None:
            sessions[name] = LivingSession(
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

    def _standing(self, platform: str, session: LivingSession) -> Standing:
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
    changes: dict[str, Content | ClipmillError] = {}
    for name, path in files.items():
        try:
            content = load(path, known.get(path))
        except ClipmillError as error:
            changes[name] = error
        else:
            if content is not None:
                changes[name] = content
    return files, changes


def _resting(platform: str, seconds: float) -> ClipmillError:
    error = ClipmillError(
        ErrorCode.RATE_LIMIT_ACCOUNT,
        f"nothing was tried: all accounts for {platform} that can be used are resting",
        retry_after=seconds,
    )
    error.permitted = False
    return error
