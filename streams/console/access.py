"""Access rules of the console: who may call it, from where, and what a browser may change.

A browser attaches the session cookie to every request to this origin, whichever page caused it. So
a change needs `Sec-Fetch-Site: same-origin`; browsers send none to an insecure address other than
loopback, there the `Origin` must name the same host as `Host`. `Authorization` is attached by no
browser on its own.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Self
from urllib.parse import urlsplit

from aiohttp import web

from streams.console.errors import CallError
from streams.settings import ConsoleSettings
from streams.settings.console import SHARED_USER

SAFE_METHODS = frozenset({"GET", "HEAD"})

LOGIN_PATHS = frozenset({"/login", "/logout"})
"""Paths that need no session."""

SESSION_COOKIE = "clipmill_session"

SESSION_SECONDS = 7 * 86_400
"""Lifetime of a login."""

USER_CHARACTERS_MAX = 100

USER = web.RequestKey("user", str)
"""Key of an accepted request: its user, the author of the commands that it causes."""

ANONYMOUS = SHARED_USER
"""Author of commands when neither a proxy nor a token names the user."""


@dataclass(frozen=True)
class HttpCall:
    """The parts of a request that the rules evaluate.

    Attributes:
        peer: address of the connection.
        session: value of the session cookie.
    """

    method: str
    headers: Mapping[str, str]
    peer: str
    session: str | None


@dataclass(frozen=True)
class AccessRules:
    """The rules, and the decisions on a call.

    Attributes:
        tokens: by the name of their user.
    """

    tokens: Mapping[str, str] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset()
    read_only: bool = False
    user_header: str | None = None
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, settings: ConsoleSettings) -> Self:
        own = {} if settings.token is None else {ANONYMOUS: settings.token}
        return cls(
            tokens={
                name: each.get_secret_value() for name, each in {**settings.tokens, **own}.items()
            },
            hosts=frozenset(each.lower() for each in settings.hosts),
            read_only=settings.read_only,
            user_header=settings.user_header,
            proxies=settings.proxies,
        )

    @property
    def authenticates(self) -> bool:
        """Whether a caller has to authenticate."""
        return bool(self.tokens) or self.user_header is not None

    def authenticate(self, call: HttpCall, now: float) -> str:
        """Return the user of a call.

        Raises:
            CallError: the host is foreign (403), or the caller not authenticated (401).
        """
        if not self.authenticates:
            self._check_host(call.headers.get("Host", ""))
            return ANONYMOUS
        if user := self._proxied_user(call):
            return user
        if user := self._bearer(call) or self._session_user(call, now):
            return user
        raise CallError(401, "Authorization", "log in, or send `Authorization: Bearer TOKEN`")

    def check_change(self, call: HttpCall) -> None:
        """Reject a change that the console does not accept, or that a foreign page has caused.

        Raises:
            CallError: 403.
        """
        if call.method in SAFE_METHODS:
            return
        if self.read_only:
            raise CallError(403, "console.read_only", "this console is read-only")
        self.check_origin(call)

    def check_origin(self, call: HttpCall) -> None:
        """Reject a call, other than one that only reads, that a foreign page has caused.

        Raises:
            CallError: 403.
        """
        if call.method not in SAFE_METHODS and not (
            self._bearer(call) or _is_of_same_origin(call.headers)
        ):
            message = (
                "a change is accepted from the console's own pages, with "
                "`Authorization: Bearer TOKEN`, or as Content-Type: application/json"
            )
            raise CallError(403, "Origin", message)

    def user_of_token(self, given: str) -> str | None:
        """Return the user of a token; compares with every token, each in constant time."""
        octets = _octets(given)
        found = [
            name
            for name, token in self.tokens.items()
            if hmac.compare_digest(octets, token.encode())
        ]
        return next(iter(found), None)

    def new_session(self, user: str, now: float) -> str:
        """Return the value of the cookie of a new session of a user with a token."""
        expires = str(int(now + SESSION_SECONDS))
        return f"{expires}.{_signature(self.tokens[user], expires, user)}.{user}"

    def _bearer(self, call: HttpCall) -> str | None:
        """Return the user whose token is in the header."""
        scheme, _, given = call.headers.get("Authorization", "").partition(" ")
        return self.user_of_token(given.strip()) if scheme.lower() == "bearer" else None

    def _session_user(self, call: HttpCall, now: float) -> str | None:
        expires, _, rest = (call.session or "").partition(".")
        signature, _, user = rest.partition(".")
        token = self.tokens.get(user)
        if token is None:
            return None
        expected = _signature(token, expires, user).encode()
        is_valid = hmac.compare_digest(_octets(signature), expected) and now < int(expires)
        return user if is_valid else None

    def _proxied_user(self, call: HttpCall) -> str | None:
        if self.user_header is None or not any(ip_address(call.peer) in it for it in self.proxies):
            return None
        name = _octets(call.headers.get(self.user_header, "")).decode(errors="replace")
        return name.strip()[:USER_CHARACTERS_MAX] or None

    def _check_host(self, header: str) -> None:
        """Reject the name of another host that resolves to this address (DNS rebinding)."""
        host = host_of(header)
        if not (is_loopback(host) or host in self.hosts):
            message = (
                f"the console answers to loopback names only, not to {header[:100]!r}; "
                "add the name to console.hosts"
            )
            raise CallError(403, "Host", message)


RULES = web.AppKey("rules", AccessRules)


def _octets(value: str) -> bytes:
    """Return a header's value as it was sent; aiohttp decodes bytes outside UTF-8 as surrogates."""
    return value.encode(errors="surrogateescape")


def is_loopback(host: str | None) -> bool:
    """Return whether a host, without its port, is a loopback name or address."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str | None:
    """Return the name in a ``Host`` header, in lower case; None for a malformed one."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _is_of_same_origin(headers: Mapping[str, str]) -> bool:
    if (site := headers.get("Sec-Fetch-Site")) is not None:
        return site == "same-origin"
    if (origin := headers.get("Origin")) is not None:
        return origin.partition("://")[2] == headers.get("Host")
    # Programs send neither. A foreign page cannot: without CORS no browser sends it this type.
    return headers.get("Content-Type", "").partition(";")[0].strip() == "application/json"


def _signature(token: str, expires: str, user: str) -> str:
    return hmac.digest(token.encode(), _octets(f"session {expires} {user}"), hashlib.sha256).hex()
