import asyncio
import base64
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message
from http.client import IncompleteRead
from importlib.metadata import EntryPoint
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

import aiokafka.conn
import msgspec
import pytest
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import SaslAuthenticationFailed

from streams.cluster.oauth import (
    REFRESH_SHARE,
    RETRY_SECONDS,
    TokenEndpoint,
    TokenError,
    TokenProviderError,
    load_provider,
    token_provider,
    token_request,
)
from streams.settings import KafkaSettings

SECRET = "s&cret of tests"


def settings(**more: object) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "OAUTHBEARER",
            "oauth_token_url": "https://issuer.example/token",
            "oauth_client_id": "me:too",
            "oauth_client_secret": SECRET,
            **more,
        }
    )


class EndpointHarness:
    """Token endpoint with given responses, and a clock that sleeping advances."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.responses: list[bytes | Exception] = []
        self.requests: list[urllib.request.Request] = []
        self.slept: list[float] = []
        self.endpoint = TokenEndpoint(
            token_request(settings()), self._fetch, clock=lambda: self.now, sleep=self._sleep
        )

    def grant(self, text: str, seconds: float | None = 100) -> None:
        response: dict[str, Any] = {"access_token": text, "token_type": "Bearer"}
        if seconds is not None:
            response["expires_in"] = seconds
        self.responses.append(msgspec.json.encode(response))

    def refuse(self, code: int, body: bytes = b"") -> None:
        self.responses.append(
            urllib.error.HTTPError("https://x", code, "no", Message(), BytesIO(body))
        )

    def _fetch(self, request: urllib.request.Request) -> bytes:
        self.requests.append(request)
        response = self.responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def harness() -> EndpointHarness:
    return EndpointHarness()


def test_token_request_follows_rfc_6749() -> None:
    request = token_request(settings(oauth_scope="a b", oauth_audience="kafka"))
    assert request.method == "POST"
    assert isinstance(request.data, bytes)
    assert parse_qs(request.data.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["a b"],
        "audience": ["kafka"],
    }
    login = base64.b64decode(str(request.get_header("Authorization")).removeprefix("Basic "))
    assert login == b"me%3Atoo:s%26cret+of+tests"


async def test_token_is_renewed_at_the_refresh_share_of_its_lifetime(
    harness: EndpointHarness,
) -> None:
    harness.grant("one", 100)
    harness.grant("two", 100)
    assert await harness.endpoint.token() == "one"
    harness.now += 100 * REFRESH_SHARE - 0.1
    assert await harness.endpoint.token() == "one"
    harness.now += 0.2
    assert await harness.endpoint.token() == "two"
    assert len(harness.requests) == 2


async def test_token_without_lifetime_is_renewed_within_a_minute(
    harness: EndpointHarness,
) -> None:
    harness.grant("one", None)
    harness.grant("two", None)
    assert await harness.endpoint.token() == "one"
    harness.now += 59
    assert await harness.endpoint.token() == "two"


@pytest.mark.parametrize(
    "fault",
    [
        lambda harness: harness.refuse(503),
        lambda harness: harness.refuse(429),
        lambda harness: harness.responses.append(ConnectionRefusedError(111, "refused")),
        lambda harness: harness.responses.append(TimeoutError("timed out")),
        lambda harness: harness.responses.append(IncompleteRead(b"")),
    ],
)
async def test_transient_fault_is_retried_with_backoff(
    harness: EndpointHarness, fault: Callable[[EndpointHarness], None]
) -> None:
    fault(harness)
    fault(harness)
    harness.grant("one")
    assert await harness.endpoint.token() == "one"
    assert harness.slept == list(RETRY_SECONDS[:2])


async def test_unavailable_endpoint_raises_with_its_url_after_the_retries(
    harness: EndpointHarness,
) -> None:
    harness.responses += [ConnectionRefusedError(111, "refused")] * (len(RETRY_SECONDS) + 1)
    with pytest.raises(
        TokenError, match=r"https://issuer\.example/token does not answer"
    ) as caught:
        await harness.endpoint.token()
    assert "check kafka.oauth_token_url" in str(caught.value)
    assert harness.slept == list(RETRY_SECONDS)


async def test_rejected_credentials_raise_without_retry_or_secret(
    harness: EndpointHarness,
) -> None:
    harness.refuse(401, b'{"error": "invalid_client", "error_description": "unknown"}')
    with pytest.raises(TokenError, match=r"answers 401 \(invalid_client unknown\)") as caught:
        await harness.endpoint.token()
    assert "kafka.oauth_client_secret" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not harness.slept


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff", b'{"error": 3}'])
async def test_error_response_of_any_form_raises_with_its_status(
    harness: EndpointHarness, body: bytes
) -> None:
    harness.refuse(404, body)
    with pytest.raises(TokenError, match=r"answers 404: check kafka\.oauth_token_url"):
        await harness.endpoint.token()


@pytest.mark.parametrize("response", [b"", b"<html>", b"{}", b'{"access_token": 3}', b"[]"])
async def test_response_without_token_raises(harness: EndpointHarness, response: bytes) -> None:
    harness.responses.append(response)
    with pytest.raises(TokenError, match="answers without a token"):
        await harness.endpoint.token()


async def test_untrusted_certificate_raises_with_the_setting(harness: EndpointHarness) -> None:
    fault = ssl.SSLCertVerificationError(1, "failed")
    fault.verify_message = "self-signed certificate"
    harness.responses.append(urllib.error.URLError(fault))
    with pytest.raises(TokenError, match=r"self-signed certificate\): kafka\.oauth_ca_file"):
        await harness.endpoint.token()


async def test_valid_token_stays_in_use_while_the_endpoint_fails(
    harness: EndpointHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.grant("one", 100)
    assert await harness.endpoint.token() == "one"
    harness.now += 85
    harness.refuse(401)
    assert await harness.endpoint.token() == "one"
    assert "the previous token stays in use" in caplog.text
    harness.now += 20
    harness.refuse(401)
    with pytest.raises(TokenError):
        await harness.endpoint.token()


async def test_concurrent_calls_share_one_request() -> None:
    entered, release = threading.Event(), threading.Event()
    fetches: list[int] = []

    def fetch(_: urllib.request.Request) -> bytes:
        fetches.append(1)
        entered.set()
        release.wait(5)
        return b'{"access_token": "one", "expires_in": 100}'

    endpoint = TokenEndpoint(token_request(settings()), fetch)
    tasks = [asyncio.create_task(endpoint.token()) for _ in range(8)]
    await asyncio.to_thread(entered.wait, 5)
    release.set()
    assert await asyncio.gather(*tasks) == ["one"] * 8
    assert len(fetches) == 1


def test_extensions_are_sent_with_the_token() -> None:
    provider = token_provider(settings(oauth_extensions={"logicalCluster": "lkc-1"}))
    assert provider.extensions() == {"logicalCluster": "lkc-1"}


def test_unusable_ca_file_raises_with_the_setting() -> None:
    with pytest.raises(TokenProviderError, match=r"kafka\.oauth_ca_file nowhere\.pem"):
        token_provider(settings(oauth_ca_file="nowhere.pem"))


async def test_sasl_error_without_error_code_fails_the_login() -> None:
    """Kafka 4.3 sends this for a bad token; aiokafka alone would continue as if logged in."""
    token_provider(settings())

    class Fixed(AbstractTokenProvider):  # type: ignore[misc]
        async def token(self) -> str:
            return "bad"

    authenticator = aiokafka.conn.OAuthAuthenticator(sasl_oauth_token_provider=Fixed())
    assert await authenticator.step(None) == (b"n,,\x01auth=Bearer bad\x01\x01", True)
    with pytest.raises(SaslAuthenticationFailed, match="invalid_token"):
        await authenticator.step(b'{"status":"invalid_token"}')


# Plug-ins


class ExampleProvider(AbstractTokenProvider):  # type: ignore[misc]
    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options

    async def token(self) -> str:
        if self._options.get("fails"):
            raise RuntimeError("no network")
        return self._options["token"]

    def extensions(self) -> dict[str, str]:
        return {"pool": "1"}


def broken(_: Mapping[str, str]) -> AbstractTokenProvider:
    raise ValueError(SECRET)


def no_provider(_: Mapping[str, str]) -> object:
    return object()


ENTRY_POINTS = [
    EntryPoint(name, f"{__name__}:{value}", "clipmill.token_providers")
    for name, value in {
        "mine": "ExampleProvider",
        "broken": "broken",
        "other": "no_provider",
        "lost": "NoSuchName",
    }.items()
]


async def test_plug_in_provides_tokens() -> None:
    provider = load_provider("mine", {"token": "one"}, ENTRY_POINTS)
    assert await provider.token() == "one"
    assert provider.extensions() == {"pool": "1"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fails": "1"}, "the token provider mine fails: RuntimeError: no network"),
        ({}, "the token provider mine fails: KeyError"),
        ({"token": ""}, "returns no text"),
    ],
)
async def test_failing_plug_in_raises_a_token_error(options: dict[str, str], text: str) -> None:
    with pytest.raises(TokenError, match=text):
        await load_provider("mine", options, ENTRY_POINTS).token()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "none",
            "kafka.token_provider none is not installed; available: broken, lost, mine, other",
        ),
        ("broken", "cannot be used: ValueError"),
        ("lost", "cannot be used: AttributeError"),
        ("other", "is not an aiokafka AbstractTokenProvider"),
    ],
)
def test_unusable_plug_in_raises_with_its_name(name: str, text: str) -> None:
    with pytest.raises(TokenProviderError, match=text) as caught:
        load_provider(name, {"key": SECRET}, ENTRY_POINTS)
    assert SECRET not in str(caught.value)
