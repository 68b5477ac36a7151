import ssl
from email.message import Message
from typing import Any

import pytest
from curl_cffi.const import CurlECode
from curl_cffi.curl import CurlError
from curl_cffi.requests.exceptions import Timeout
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import ExtractorError

from agents.engine.failures import (
    CHAIN_MAX,
    FACT_CHARACTERS_MAX,
    FACTS_MAX,
    MESSAGE_CHARACTERS_MAX,
    flatten,
    redact_message,
    truncate_facts,
)
from agents.engine.interface import EngineFailure


class _Response:
    """The part of a response that yt-dlp's HTTPError reads."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status, self.reason = status, "Some Reason"
        self.headers = Message()
        for name, value in headers.items():
            self.headers[name.replace("_", "-")] = value

    def get_header(self, name: str) -> str | None:
        value: str | None = self.headers.get(name)
        return value


def chained(error: BaseException, *causes: BaseException) -> BaseException:
    """Return the error as ``raise error from cause`` leaves it, with the causes chained in turn."""
    link = error
    for cause in causes:
        link.__cause__ = cause
        link = cause
    return error


CASES: dict[str, tuple[BaseException, EngineFailure]] = {
    "plain": (ValueError("odd"), EngineFailure(types=("ValueError",), message="odd")),
    "without a message": (KeyError(), EngineFailure(types=("KeyError",), message="KeyError")),
    "extractor's own message": (
        ExtractorError("gone", video_id="1", ie="TikTok", expected=False),
        EngineFailure(types=("ExtractorError",), message="gone"),
    ),
    "failure that the extractor recognized by its cause": (
        chained(
            ExtractorError("for members only", expected=True),
            ExtractorError("cannot", cause=HTTPError(_Response(403))),
        ),
        EngineFailure(
            types=("ExtractorError", "ExtractorError", "HTTPError"),
            message="for members only",
            status=403,
        ),
    ),
    "http status behind the extractor": (
        ExtractorError("cannot", cause=HTTPError(_Response(429, Retry_After="30"))),
        EngineFailure(
            types=("ExtractorError", "HTTPError"), message="cannot", status=429, retry_after="30"
        ),
    ),
    "http status without a header": (
        HTTPError(_Response(404)),
        EngineFailure(types=("HTTPError",), message="HTTP Error 404: Some Reason", status=404),
    ),
    "curl": (
        TransportError(
            cause=chained(Timeout("slow", CurlECode.OPERATION_TIMEDOUT), CurlError("slow", 28))
        ),
        EngineFailure(
            types=("TransportError", "Timeout", "CurlError"), message="slow", curl_code=28
        ),
    ),
    "operating system": (
        chained(RuntimeError("cannot"), OSError(111, "refused")),
        EngineFailure(
            types=("RuntimeError", "ConnectionRefusedError"), message="cannot", errno=111
        ),
    ),
    "OpenSSL's errno": (
        ssl.SSLError(1, "bad certificate"),
        EngineFailure(types=("SSLError",), message="bad certificate"),
    ),
    "an OSError with texts only": (
        OSError("odd"),
        EngineFailure(types=("OSError",), message="odd"),
    ),
    "a library's code that is not curl's": (
        SystemExit(3),
        EngineFailure(types=("SystemExit",), message="3"),
    ),
    "innermost message of nested extractors": (
        ExtractorError("outer", cause=ExtractorError("inner")),
        EngineFailure(types=("ExtractorError", "ExtractorError"), message="inner"),
    ),
}


@pytest.mark.parametrize(("error", "expected"), CASES.values(), ids=CASES)
def test_exception_chain_is_flattened(error: BaseException, expected: EngineFailure) -> None:
    assert flatten(error) == expected


def test_context_is_followed_when_there_is_no_cause() -> None:
    error = KeyError("second")
    error.__context__ = ValueError("first")
    assert flatten(error).types == ("KeyError", "ValueError")


def test_suppressed_context_is_left_out() -> None:
    error = KeyError("second")
    error.__context__ = ValueError("first")
    error.__suppress_context__ = True
    assert flatten(error).types == ("KeyError",)


def test_circular_causes_are_flattened_once() -> None:
    first, second = ValueError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    assert flatten(first).types == ("ValueError", "KeyError")


def test_long_chain_is_bounded() -> None:
    assert len(flatten(chained(*[ValueError(str(n)) for n in range(100)])).types) == CHAIN_MAX


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[0;31mERROR:\x1b[0m gone", "ERROR: gone"),
        ("see https://a.example/p?x=secret&y=1 there", "see https://a.example/p there"),
        ("url: /p?token=secret (Caused by X)", "url: /p (Caused by X)"),
        ("https://a.example/p#access_token=secret.", "https://a.example/p"),
        ("proxy http://user:secret@p.example:1/", "proxy http://p.example:1/"),
        ("http://a:se@cret@p.example/", "http://p.example/"),
        ("really? yes", "really? yes"),
        ("'https://a.example/?q=secret'", "'https://a.example/'"),
    ],
)
def test_message_is_redacted(text: str, expected: str) -> None:
    assert redact_message(text) == expected


@given(st.text())
def test_message_is_bounded_and_redaction_is_stable(text: str) -> None:
    once = redact_message(text)
    assert len(once) <= MESSAGE_CHARACTERS_MAX
    assert "\x1b[0m" not in once


def test_facts_are_bounded_in_number_and_length() -> None:
    facts: dict[Any, Any] = dict.fromkeys(range(100), "x" * 1_000)
    kept = truncate_facts(facts)
    assert len(kept) == FACTS_MAX
    assert all(len(value) == FACT_CHARACTERS_MAX for value in kept.values())


def test_facts_are_attached_to_the_failure() -> None:
    assert flatten(ValueError("x"), {"status_code": "10204"}).facts == {"status_code": "10204"}
