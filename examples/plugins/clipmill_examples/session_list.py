"""An authenticator: sessions of one platform from the settings, used in turn.

[auth]
authenticator = "sessions"
options = { platform = "tiktok", domain = ".tiktok.com", cookie = "sessionid", values = "… …" }
"""

from collections.abc import Collection, Sequence

from agents.accounts import Account, AccountStatus, AccountUse, LoginSettings
from schemas import Cookie, ErrorCode

REFUSED = frozenset({ErrorCode.CONTENT_LOGIN_REQUIRED, ErrorCode.SYSTEM_CONFIG})


class Session:
    """An `Account`. Renewed cookies are kept in memory."""

    def __init__(self, name: str, cookie: Cookie) -> None:
        self.name = name
        self.cookies: tuple[Cookie, ...] = (cookie,)
        self.healthy = True

    def renew(self, cookies: tuple[Cookie, ...]) -> None:
        """Record the cookies that the site has set after a request."""
        self.cookies = cookies or self.cookies


class SessionList:
    """An `Authenticator`; its constructor has no side effects."""

    def __init__(self, settings: LoginSettings) -> None:
        options = settings.options
        self._platform = options["platform"]
        self._sessions = {
            f"session-{number}": Session(
                f"session-{number}",
                Cookie(name=options["cookie"], value=value, domain=options["domain"]),
            )
            for number, value in enumerate(options["values"].split(), start=1)
        }

    def accounts(self, platform: str) -> tuple[str, ...]:
        """Return the names of the accounts. Recovery calls it for every failure: from memory."""
        return tuple(self._sessions) if platform == self._platform else ()

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> Account | None:
        """Lease the first usable session, healthy ones first."""
        usable = [self._sessions[name] for name in self.accounts(platform) if name not in avoid]
        return min(usable, key=lambda each: not each.healthy, default=None)

    def record_use(self, platform: str, account: Account, use: AccountUse) -> None:
        """Mark a session as unhealthy when the platform refused it."""
        if platform == self._platform and use.login_required:
            self._sessions[account.name].healthy = use.code not in REFUSED

    def health_report(self) -> Sequence[AccountStatus]:
        """Return the status of all sessions, for the metrics."""
        return [
            AccountStatus(platform=self._platform, account=each.name, healthy=each.healthy)
            for each in self._sessions.values()
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to save."""
