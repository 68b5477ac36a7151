"""What a stage asks of logins. Another way to log in is one class with these methods."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from schemas.errors import ErrorCode
from schemas.video import Cookie


class LoginSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an authenticator is made with.

    Attributes:
        cookie_files: by platform, files and folders of files in Netscape's format.
        session_cookies: by platform, names of the cookies that carry the login.
        hosts: by platform, hosts of its pages. A file without a cookie for them is no account of
            the platform; where none are named, every file is one.
        write_seconds: least time between two writes of one file.
        options: of an authenticator that is not ours, by its own names. May hold secrets.
    """

    cookie_files: Mapping[str, tuple[Path, ...]] = {}
    session_cookies: Mapping[str, tuple[str, ...]] = {}
    hosts: Mapping[str, tuple[str, ...]] = {}
    write_seconds: float = 5.0
    options: Mapping[str, str] = {}

    def __repr__(self) -> str:
        """Return the names of the options, not their values."""
        return f"LoginSettings({dict(self.cookie_files)}, options={sorted(self.options)})"


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """How a request with an account ended.

    Attributes:
        subject: key of the post or listing that it was about.
        needed: it had been refused without an account. When it was not, its success says nothing
            about the login.
        code: why it failed, None when it went well.
        retry_after: seconds that the platform asked to wait.
    """

    subject: str
    needed: bool
    code: ErrorCode | None = None
    retry_after: float | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How an account fares, as metrics show it.

    Attributes:
        platform: whose account it is.
        account: its name.
        healthy: it may be used now.
        last_success_at: epoch second; None when it never was of use to this process.
        expires_at: epoch second at which its login ends; None when that is not known.
        unsaved: what the platform has set anew cannot be kept for the next start.
    """

    platform: str
    account: str
    healthy: bool
    last_success_at: float | None = None
    expires_at: float | None = None
    unsaved: bool = False


class Account(Protocol):
    """An account, lent for one request."""

    @property
    def name(self) -> str:
        """Name among the accounts of its platform; no secret."""
        ...

    @property
    def cookies(self) -> tuple[Cookie, ...]:
        """What to send along. Secrets: they go to the platform and nowhere else."""
        ...

    def renew(self, cookies: tuple[Cookie, ...]) -> None:
        """Remember the cookies that the site has after a request. Never blocks, never fails."""
        ...


class Authenticator(Protocol):
    """Keeps the accounts of all platforms. Made with `LoginSettings`; making it does nothing."""

    def accounts(self, platform: str) -> tuple[str, ...]:
        """Return the names of the accounts of a platform; none when it has no login.

        Also asked where nobody ever logs in, to know whether there is another one to try.
        """
        ...

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> Account | None:
        """Return the account to use now, None when there is none.

        Args:
            platform: where.
            avoid: accounts to leave out as long as there is another one.

        Raises:
            ClipmillError: ``system.config``, what is set up cannot be used;
                ``rate_limit.account``, not permitted, all that can be used are resting: until
                when, tells its ``retry_after``.
        """
        ...

    def tell(self, platform: str, account: Account, use: Use) -> None:
        """Take note of how a request with an account ended. Never blocks, never fails."""
        ...

    def health_report(self) -> Sequence[Standing]:
        """Return how all accounts fare that are known so far."""
        ...

    async def close(self) -> None:
        """Keep what is still to be kept."""
        ...
