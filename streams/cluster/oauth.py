"""OAUTHBEARER: tokens for Kafka connections, from a token endpoint or from a plug-in.

Tokens of the endpoint are granted for client credentials (RFC 6749, section 4.4) and shared by all
connections of the process until a fifth of their lifetime is left. A token is needed only while a
connection is opened, so nothing is requested ahead of time.
"""

import asyncio
import base64
import logging
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import aiokafka.conn
import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError, SaslAuthenticationFailed

from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

GROUP = "clipmill.token_providers"
"""Entry points of this group name functions that take the options (`Mapping[str, str]`) and return
an `AbstractTokenProvider` of aiokafka."""

REFRESH_SHARE = 0.8
"""Share of a token's lifetime after which the next connection requests a new one; Kafka's own
clients do the same (sasl.login.refresh.window.factor)."""

LIFETIME_SECONDS = 60.0
"""Lifetime of a token when the endpoint names none (`expires_in` is optional)."""

ANSWER_SECONDS = 10.0
"""Time that the endpoint has for an answer; Kafka's own clients wait for 10 s too."""

ANSWER_BYTES = 1 << 20
"""Largest answer of the endpoint that is read. Tokens have 1 to 10 KB."""

RETRY_SECONDS = (0.5, 1.0, 2.0)
"""Waits between attempts at an endpoint that does not answer, or answers 429 or 5xx."""

MAY_PASS = frozenset({429, 500, 502, 503, 504})

ERROR_TEXT_MAX = 200
"""Characters of the endpoint's error code and description that are quoted."""


class TokenError(KafkaError):
    """There is no token to log in with; the text says why. aiokafka tries again later."""


class TokenProviderError(Exception):
    """The token provider plug-in cannot be used; the text names it."""


class _Grant(msgspec.Struct):
    """The endpoint's answer."""

    access_token: str
    expires_in: float = LIFETIME_SECONDS


class _Refusal(msgspec.Struct):
    """The endpoint's answer to a request that it refuses."""

    error: str = ""
    error_description: str = ""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    refresh_at: float
    expires_at: float


_providers: dict[tuple[Any, ...], AbstractTokenProvider] = {}
"""By the settings that they were made of. All clients of a process share one, and so its token."""


def token_provider(kafka: KafkaSettings) -> AbstractTokenProvider:
    """Return the provider that the settings name.

    Raises:
        TokenProviderError: the plug-in is not installed, or a file cannot be used.
    """
    secret = kafka.oauth_client_secret and kafka.oauth_client_secret.get_secret_value()
    options = {name: each.get_secret_value() for name, each in kafka.token_provider_options.items()}
    key = (
        (kafka.token_provider, *sorted(options.items())),
        (kafka.oauth_token_url, kafka.oauth_client_id, secret),
        (kafka.oauth_scope, kafka.oauth_audience, kafka.oauth_ca_file),
        tuple(sorted(kafka.oauth_extensions.items())),
    )
    aiokafka.conn.OAuthAuthenticator = CheckedAuthenticator
    if key not in _providers:
        _providers[key] = (
            load_provider(kafka.token_provider, options)
            if kafka.token_provider is not None
            else TokenEndpoint(
                token_request(kafka),
                _fetcher(kafka.oauth_ca_file),
                extensions=kafka.oauth_extensions,
            )
        )
    return _providers[key]


class CheckedAuthenticator(aiokafka.conn.OAuthAuthenticator):
    """Takes the broker's refusal of a token for one.

    A broker refuses with JSON and without an error code (RFC 7628, 3.2.3). aiokafka 0.14 believes
    to be logged in, and reads what the broker sends next as the answer to its first request.
    """

    async def step(self, payload: bytes | None) -> Any:
        """Return what is sent next, None at the end."""
        if payload:
            raise SaslAuthenticationFailed(payload.decode(errors="replace"))
        return await super().step(payload)


class TokenEndpoint(AbstractTokenProvider):
    """Requests tokens from an endpoint and keeps the newest one.

    The clients of a process live in several threads with event loops of their own: requests are
    made one at a time in a thread, and the others wait for it.
    """

    def __init__(
        self,
        request: urllib.request.Request,
        fetch: Callable[[urllib.request.Request], bytes],
        *,
        extensions: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._request = request
        self._fetch = fetch
        self._extensions = dict(extensions or {})
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._token: _Token | None = None

    async def token(self) -> str:
        """Return a token that is valid for a while.

        Raises:
            TokenError: the endpoint gives none.
        """
        token = self._token
        if token is not None and self._clock() < token.refresh_at:
            return token.text
        return await asyncio.to_thread(self._renew)

    def extensions(self) -> dict[str, str]:
        """Return what is sent beside the token."""
        return self._extensions

    def _renew(self) -> str:
        with self._lock:
            token = self._token
            if token is not None and self._clock() < token.refresh_at:
                return token.text
            try:
                self._token = self._granted()
            except TokenError as error:
                if token is None or self._clock() >= token.expires_at:
                    raise
                log.warning("the token of before stays in use: %s", error)
                return token.text
            return self._token.text

    def _granted(self) -> _Token:
        for wait in (*RETRY_SECONDS, None):
            asked_at = self._clock()
            try:
                grant = msgspec.json.decode(self._fetch(self._request), type=_Grant)
            except urllib.error.HTTPError as error:
                with error:
                    if wait is None or error.code not in MAY_PASS:
                        raise TokenError(self._refused(error)) from None
            except (OSError, HTTPException) as error:
                # A certificate that is wrong now will be wrong in a second.
                if wait is None or isinstance(_cause(error), ssl.SSLCertVerificationError):
                    raise TokenError(self._unreachable(error)) from None
            except msgspec.DecodeError as error:
                # Never the answer itself: it may hold a token.
                raise TokenError(
                    f"{self._place} answers without a token ({error}): check kafka.oauth_token_url"
                ) from None
            else:
                seconds = max(0.0, grant.expires_in)
                return _Token(
                    grant.access_token,
                    refresh_at=asked_at + seconds * REFRESH_SHARE,
                    expires_at=asked_at + seconds,
                )
            self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    @property
    def _place(self) -> str:
        return f"the token endpoint {self._request.full_url}"

    def _refused(self, error: urllib.error.HTTPError) -> str:
        try:
            refusal = msgspec.json.decode(error.read(ANSWER_BYTES), type=_Refusal)
        except (msgspec.DecodeError, OSError, HTTPException):
            refusal = _Refusal()
        said = " ".join(part for part in (refusal.error, refusal.error_description) if part)
        detail = f" ({said[:ERROR_TEXT_MAX]})" if said else ""
        text = f"{self._place} answers {error.code}{detail}"
        if error.code in {400, 401, 403}:
            return (
                f"{text}: check kafka.oauth_client_id, kafka.oauth_client_secret, "
                "kafka.oauth_scope and kafka.oauth_audience"
            )
        return f"{text}: check kafka.oauth_token_url"

    def _unreachable(self, error: Exception) -> str:
        cause = _cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"{self._place} has a certificate that is not trusted ({cause.verify_message}): "
                "kafka.oauth_ca_file names the root certificate"
            )
        return f"{self._place} does not answer ({cause}): check kafka.oauth_token_url"


class _Guarded(AbstractTokenProvider):
    """A plug-in whose errors are errors of a login, which aiokafka tries again."""

    def __init__(self, name: str, provider: AbstractTokenProvider) -> None:
        self._name = name
        self._provider = provider

    async def token(self) -> str:
        try:
            token: Any = await self._provider.token()
        except TokenError:
            raise
        except Exception as error:
            raise TokenError(
                f"the token provider {self._name} fails: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(token, str) or not token:
            raise TokenError(f"the token provider {self._name} gives no text but {type(token)}")
        return token

    def extensions(self) -> dict[str, str]:
        return dict(self._provider.extensions() or {})


def load_provider(
    name: str, options: Mapping[str, str], points: Iterable[EntryPoint] | None = None
) -> AbstractTokenProvider:
    """Return an installed provider.

    Raises:
        TokenProviderError: there is none of this name, or it cannot be used.
    """
    found = {each.name: each for each in (points or entry_points(group=GROUP))}
    if name not in found:
        raise TokenProviderError(
            f"kafka.token_provider {name} is not installed; there are "
            + (", ".join(sorted(found)) or f"none (entry points of the group {GROUP})")
        )
    try:
        provider = found[name].load()(options)
    except Exception as error:
        # Where, but not what it says: that may hold the options.
        raise TokenProviderError(
            f"the token provider {name} ({found[name].value}) cannot be used: "
            f"{type(error).__name__}"
        ) from error
    if not isinstance(provider, AbstractTokenProvider):
        raise TokenProviderError(
            f"the token provider {name} ({found[name].value}) is no aiokafka AbstractTokenProvider"
        )
    return _Guarded(name, provider)


def token_request(kafka: KafkaSettings) -> urllib.request.Request:
    """Return the request for a token; the client authenticates as RFC 6749, 2.3.1 demands."""
    assert kafka.oauth_token_url is not None
    assert kafka.oauth_client_id is not None
    assert kafka.oauth_client_secret is not None
    fields = {
        "grant_type": "client_credentials",
        "scope": kafka.oauth_scope,
        "audience": kafka.oauth_audience,
    }
    body = urlencode({name: value for name, value in fields.items() if value is not None})
    secret = kafka.oauth_client_secret.get_secret_value()
    login = f"{quote_plus(kafka.oauth_client_id)}:{quote_plus(secret)}"
    headers = {
        "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }
    # The settings allow https, and http on loopback.
    return urllib.request.Request(  # noqa: S310
        kafka.oauth_token_url, body.encode(), headers, method="POST"
    )


def _fetcher(ca_file: Path | None) -> Callable[[urllib.request.Request], bytes]:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise TokenProviderError(f"kafka.oauth_ca_file {ca_file} cannot be used: {error}") from None
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), _NoRedirects()
    )

    def fetch(request: urllib.request.Request) -> bytes:
        with opener.open(request, timeout=ANSWER_SECONDS) as answer:
            body: bytes = answer.read(ANSWER_BYTES)
        return body

    return fetch


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The secret goes to the endpoint that was named, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _cause(error: Exception) -> BaseException:
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, BaseException) else error
