"""The authenticator plug-in interface: accounts leased to requests, and reports of their use.

The built-in implementation is `agents.accounts.cookie_files.CookieFiles`; plug-ins register in the
entry-point group ``clipmill.authenticators``.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from schemas.errors import ErrorCode
from schemas.video import Cookie


class LoginSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Constructor argument of an authenticator.

    Attributes:
        cookie_files: by platform, files and folders of files in Netscape's format.
        session_cookies: by platform, names of the cookies that carry the login.
        hosts: by platform, hosts of its pages. A file without a cookie for them is no account of
            the platform; without hosts, every file is one.
        write_seconds: minimum interval between two writes of one file.
        options: of a plug-in, by its own names. May hold secrets.
    """

    cookie_files: Mapping[str, tuple[Path, ...]] = {}
    session_cookies: Mapping[str, tuple[str, ...]] = {}
    hosts: Mapping[str, tuple[str, ...]] = {}
    write_seconds: float = 5.0
    options: Mapping[str, str] = {}

    def __repr__(self) -> str:
        """Return the names of the options, not their values."""
        return f"LoginSettings({dict(self.cookie_files)}, options={sorted(self.options)})"


class AccountUse(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a request with an account.

    Attributes:
        subject: key of the requested post or listing.
        login_required: the platform had refused it without an account. Otherwise a success proves
            nothing about the login.
        code: of the failure, None for a success.
        retry_after: seconds, from the platform's answer.
    """

    subject: str
    login_required: bool
    code: ErrorCode | None = None
    retry_after: float | None = None


class AccountStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status of an account, for the metrics.

    Attributes:
        platform: of the account.
        account: its name.
        healthy: it is usable now.
        last_success_at: epoch second; None without a success in this process.
        expires_at: epoch second at which its login expires; None when that is not known.
        unsaved: renewed cookies cannot be persisted, and are lost at a restart.
    """

    platform: str
    account: str
    healthy: bool
    last_success_at: float | None = None
    expires_at: float | None = None
    unsaved: bool = False


class Account(Protocol):
    """An account leased to one request."""

    @property
    def name(self) -> str:
        """Unique within the platform; no secret."""
        ...

    @property
    def cookies(self) -> tuple[Cookie, ...]:
        """To send with the request. Secrets: sent to the platform and nowhere else."""
        ...

    def renew(self, cookies: tuple[Cookie, ...]) -> None:
        """Record the cookies that the site has set after a request. Never blocks or raises."""
        ...


class Authenticator(Protocol):
    """The accounts of all platforms. Constructed with `LoginSettings`, without side effects."""

    def accounts(self, platform: str) -> tuple[str, ...]:
        """Return the names of the accounts of a platform; none when it has no login.

        Recovery also calls it, for every failure, to decide whether another account can be tried.
        """
        ...

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> Account | None:
        """Lease the best account, None when there is none.

        Args:
            platform: of the account.
            avoid: accounts to use only when there is no other one.

        Raises:
            ClipmillError: ``system.config``, no configured account can be used;
                ``rate_limit.account``, not permitted, all usable ones are in their cooldown, which
                ends after its ``retry_after``.
        """
        ...

    def record_use(self, platform: str, account: Account, use: AccountUse) -> None:
        """Record the outcome of a request with an account. Never blocks or raises."""
        ...

    def health_report(self) -> Sequence[AccountStatus]:
        """Return the status of all accounts known so far."""
        ...

    async def close(self) -> None:
        """Persist all pending renewals."""
        ...
