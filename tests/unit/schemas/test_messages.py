import re
import shlex

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorCode, ErrorContext
from schemas.messages import MESSAGES, explain
from schemas.request import MAX_URL_CHARACTERS

URL = "https://www.tiktok.com/@name/video/7608826249200356630"
SENTENCE = re.compile(r"[A-Z][^.{}<>]*[^ .{}<>]\.")
COMMANDS = re.compile(r"clipmill submit \S+( --quality 480p)?")


def context(
    code: ErrorCode = ErrorCode.NETWORK_TIMEOUT, url: str = URL, **details: str
) -> ErrorContext:
    return explain(code, operation="extraction", url=url, details=details)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_one_sentence_and_advice(code: ErrorCode) -> None:
    told = context(code)
    assert told.error_type is code
    assert SENTENCE.fullmatch(told.user_message)
    assert told.suggested_actions
    assert all(SENTENCE.fullmatch(action) for action in told.suggested_actions)


@pytest.mark.parametrize("code", ErrorCode)
def test_commands_are_ready_to_type(code: ErrorCode) -> None:
    commands = context(code).recovery_options
    assert len(set(commands)) == len(commands)
    assert all(COMMANDS.fullmatch(command) for command in commands)
    assert all(shlex.split(command)[2] == URL for command in commands)


def test_no_message_is_for_two_codes() -> None:
    assert set(MESSAGES) == set(ErrorCode)
    assert len({message.user_message for message in MESSAGES.values()}) == len(MESSAGES)


HOPELESS = {
    ErrorCode.CONTENT_NOT_FOUND,
    ErrorCode.CONTENT_PRIVATE,
    ErrorCode.CONTENT_UNSUPPORTED,
    ErrorCode.CONTENT_LIVE_ENDED,
    ErrorCode.CONTENT_AGE_RESTRICTED,
    ErrorCode.REQUEST_INVALID,
}


@pytest.mark.parametrize("code", ErrorCode)
def test_only_what_may_help_is_offered(code: ErrorCode) -> None:
    assert bool(context(code).recovery_options) == (code not in HOPELESS)


def test_what_it_was_about() -> None:
    told = explain(
        ErrorCode.NETWORK_DNS, operation="validation", url=URL, details={"host": "www.tiktok.com"}
    )
    assert told == ErrorContext(
        operation="validation",
        url=URL,
        error_type=ErrorCode.NETWORK_DNS,
        user_message="The platform's host name could not be resolved.",
        technical_details={"host": "www.tiktok.com"},
        recovery_options=(f"clipmill submit {URL}",),
        suggested_actions=told.suggested_actions,
    )


def test_details_are_not_needed() -> None:
    told = explain(ErrorCode.INTERNAL_BUG, operation="download", url=URL)
    assert told.technical_details == {}


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("", "The request could not be used."),
        ("it is empty", "The request could not be used: it is empty."),
        ("it is empty.", "The request could not be used: it is empty."),
        (" two\nlines ", "The request could not be used: two lines."),
        ("x" * 1_000, f"The request could not be used: {'x' * 300}."),
    ],
)
def test_a_reason_becomes_part_of_the_sentence(reason: str, message: str) -> None:
    told = context(ErrorCode.REQUEST_INVALID, reason=reason)
    assert told.user_message == message
    assert told.technical_details == {"reason": reason}


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "-o",
        "--config=x",
        "@name",
        "https://a.example/ x",
        "https://a.example/\n",
        "https://a.example/\u202e",
        "\u00e9",
        "https://a.example/" + "x" * MAX_URL_CHARACTERS,
    ],
)
def test_what_is_no_clean_word_is_not_offered_to_a_shell(url: str) -> None:
    assert context(url=url).recovery_options == ()
    assert context(url=url).url == url


@pytest.mark.parametrize("url", [f"{URL}?a=1&b=$(id)", f"{URL};id", f"{URL}'\"`id`", f"  {URL} "])
def test_urls_are_quoted(url: str) -> None:
    again, smaller = context(url=url).recovery_options
    assert shlex.split(again) == ["clipmill", "submit", url.strip()]
    assert shlex.split(smaller) == ["clipmill", "submit", url.strip(), "--quality", "480p"]


def test_a_url_that_looks_like_a_placeholder_stays_what_it_is() -> None:
    url = "https://a.example/{url}"
    assert shlex.split(context(url=url).recovery_options[0])[2] == url


@given(st.sampled_from(ErrorCode), st.text(), st.dictionaries(st.text(), st.text()))
def test_any_error_can_travel(code: ErrorCode, url: str, details: dict[str, str]) -> None:
    told = explain(code, operation="extraction", url=url, details=details)
    assert msgspec.json.decode(msgspec.json.encode(told), type=ErrorContext) == told
    assert all(
        shlex.split(command)[:2] == ["clipmill", "submit"] for command in told.recovery_options
    )
