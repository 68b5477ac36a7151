"""OAUTHBEARER: tokens for Kafka connections, from a token endpoint or from a plug-in.

The endpoint grants tokens for client credentials (RFC 6749, section 4.4). All connections of the
process share one until a fifth of its lifetime is left. A token is needed only while a connection
is opened, so none is requested ahead of time.
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
"""Entry points of this group are functions that take the options (`Mapping[str, str]`) and return
an `AbstractTokenProvider` of aiokafka."""

REFRESH_SHARE = 0.8
"""Share of a token's lifetime after which the next connection requests a new one; Kafka's own
clients do the same (sasl.login.refresh.window.factor)."""

LIFETIME_SECONDS = 60.0
"""Default lifetime of a token (`expires_in` is optional)."""

ANSWER_SECONDS = 10.0
"""Timeout of a request to the endpoint; the default of Kafka's own clients is 10 s too."""

ANSWER_BYTES = 1 << 20
"""Limit of a response of the endpoint. Tokens have 1 to 10 KB."""

RETRY_SECONDS = (0.5, 1.0, 2.0)
"""Backoff between requests to an endpoint that does not respond, or responds with 429 or 5xx."""

RETRYABLE_STATUSES = frozenset({429, 500, 502, 503, 504})

ERROR_TEXT_MAX = 200
"""Characters of the endpoint's error code and description that are quoted."""


class TokenError(KafkaError):
    """No token to log in with; the text is the reason. aiokafka retries later."""


class TokenProviderError(Exception):
    """The token provider plug-in is unusable; the text names it."""


class _Grant(msgspec.Struct):
    """The endpoint's token response."""

    access_token: str
    expires_in: float = LIFETIME_SECONDS


class _Refusal(msgspec.Struct):
    """The endpoint's error response."""

    error: str = ""
    error_description: str = ""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    refresh_at: float
    expires_at: float


_providers: dict[tuple[Any, ...], AbstractTokenProvider] = {}
"""Providers by their settings. All clients of a process share one, and so its token."""


def token_provider(kafka: KafkaSettings) -> AbstractTokenProvider:
    """Return the provider that is configured.

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
    """Detects that the broker rejects a token.

    A broker rejects with JSON and without an error code (RFC 7628, 3.2.3). aiokafka 0.14 takes that
    for a successful login, and decodes the broker's next bytes as the response to its first
    request.
    """

    async def step(self, payload: bytes | None) -> Any:
        """Return the next bytes to send, None at the end."""
        if payload:
            raise SaslAuthenticationFailed(payload.decode(errors="replace"))
        return await super().step(payload)


class TokenEndpoint(AbstractTokenProvider):
    """Requests tokens from an endpoint and caches the newest one.

    The clients of a process run in several threads with event loops of their own: a request is made
    in a thread, under a lock, and concurrent callers wait for its result.
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
        """Return a valid token, renewed when due.

        Raises:
            TokenError: the endpoint grants none.
        """
        token = self._token
        if token is not None and self._clock() < token.refresh_at:
            return token.text
        return await asyncio.to_thread(self._renew)

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions that are sent with the token."""
        return self._extensions

    def _renew(self) -> str:
        with self._lock:
            token = self._token
            if token is not None and self._clock() < token.refresh_at:
                return token.text
            try:
                self._token = self._request_token()
            except TokenError as error:
                if token is None or self._clock() >= token.expires_at:
                    raise
                log.warning("the previous token stays in use: %s", error)
                return token.text
            return self._token.text

    def _request_token(self) -> _Token:
        for wait in (*RETRY_SECONDS, None):
            asked_at = self._clock()
            try:
                grant = msgspec.json.decode(self._fetch(self._request), type=_Grant)
            except urllib.error.HTTPError as error:
                with error:
                    if wait is None or error.code not in RETRYABLE_STATUSES:
                        raise TokenError(self._explain_rejection(error)) from None
            except (OSError, HTTPException) as error:
                # An invalid certificate is not worth a retry.
                if wait is None or isinstance(_cause(error), ssl.SSLCertVerificationError):
                    raise TokenError(self._explain_unreachable(error)) from None
            except msgspec.DecodeError as error:
                # Never the response itself: it may contain a token.
                raise TokenError(
                    f"{self._endpoint} answers without a token ({error}): "
                    "check kafka.oauth_token_url"
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
    def _endpoint(self) -> str:
        return f"the token endpoint {self._request.full_url}"

    def _explain_rejection(self, error: urllib.error.HTTPError) -> str:
        try:
            refusal = msgspec.json.decode(error.read(ANSWER_BYTES), type=_Refusal)
        except (msgspec.DecodeError, OSError, HTTPException):
            refusal = _Refusal()
        quoted = " ".join(part for part in (refusal.error, refusal.error_description) if part)
        detail = f" ({quoted[:ERROR_TEXT_MAX]})" if quoted else ""
        text = f"{self._endpoint} answers {error.code}{detail}"
        if error.code in {400, 401, 403}:
            return (
                f"{text}: check kafka.oauth_client_id, kafka.oauth_client_secret, "
                "kafka.oauth_scope and kafka.oauth_audience"
            )
        return f"{text}: check kafka.oauth_token_url"

    def _explain_unreachable(self, error: Exception) -> str:
        cause = _cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"{self._endpoint} has a certificate that is not trusted ({cause.verify_message}): "
                "kafka.oauth_ca_file names the root certificate"
            )
        return f"{self._endpoint} does not answer ({cause}): check kafka.oauth_token_url"


class _ErrorTranslatingProvider(AbstractTokenProvider):
    """Turns a plug-in's errors into login errors, which aiokafka retries."""

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
            raise TokenError(f"the token provider {self._name} returns no text but {type(token)}")
        return token

    def extensions(self) -> dict[str, str]:
        return dict(self._provider.extensions() or {})


def load_provider(
    name: str, options: Mapping[str, str], points: Iterable[EntryPoint] | None = None
) -> AbstractTokenProvider:
    """Return an installed provider.

    Raises:
        TokenProviderError: there is none of this name, or it is unusable.
    """
    found = {each.name: each for each in (points or entry_points(group=GROUP))}
    if name not in found:
        raise TokenProviderError(
            f"kafka.token_provider {name} is not installed; available: "
            + (", ".join(sorted(found)) or f"none (entry points of the group {GROUP})")
        )
    try:
        provider = found[name].load()(options)
    except Exception as error:
        # The type, but not the text, which may contain the options.
        raise TokenProviderError(
            f"the token provider {name} ({found[name].value}) cannot be used: "
            f"{type(error).__name__}"
        ) from error
    if not isinstance(provider, AbstractTokenProvider):
        raise TokenProviderError(
            f"the token provider {name} ({found[name].value}) is not an aiokafka "
            "AbstractTokenProvider"
        )
    return _ErrorTranslatingProvider(name, provider)


def token_request(kafka: KafkaSettings) -> urllib.request.Request:
    """Return the token request; the client authenticates by RFC 6749, 2.3.1."""
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
    """Rejects redirects: the secret is sent to the configured endpoint only."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _cause(error: Exception) -> BaseException:
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, BaseException) else error
