"""What a stage asks of logins. Another way to log in is one class with these methods."""

from collections.abc import Collection
from typing import Protocol

from schemas.errors import ErrorCode
from schemas.video import Cookie


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
        """Remember the cookies that the platform has set anew. Never blocks, never fails."""
        ...


class Authenticator(Protocol):
    """Keeps the accounts of all platforms."""

    def accounts(self, platform: str) -> tuple[str, ...]:
        """Return the names of the accounts of a platform; none when it has no login."""
        ...

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> Account | None:
        """Return the account to use now, None when none is left beside those to avoid.

        Raises:
            ClipmillError: ``system.config``; what is set up cannot be used.
        """
        ...

    def tell(self, account: Account, code: ErrorCode | None) -> None:
        """Take note of how a request with an account ended: with this error, None when well."""
        ...
