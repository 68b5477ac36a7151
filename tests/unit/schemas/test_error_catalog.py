import re
import shlex

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.error_catalog import MESSAGES, explain
from schemas.errors import ErrorCode, ErrorContext

URL = "https://www.tiktok.com/@name/video/7608826249200356630"
SENTENCE = re.compile(r"[A-Z][^.{}<>]*[^ .{}<>]\.")
COMMANDS = re.compile(r"clipmill retry \S+( --quality 480p)?")
REQUEST_ID = "order-1"


def context(
    code: ErrorCode = ErrorCode.NETWORK_TIMEOUT, request_id: str = REQUEST_ID, **details: str
) -> ErrorContext:
    return explain(code, operation="extraction", url=URL, details=details, request_id=request_id)


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
    assert all(shlex.split(command)[2] == REQUEST_ID for command in commands)


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
        ErrorCode.NETWORK_DNS,
        operation="validation",
        url=URL,
        details={"host": "www.tiktok.com"},
        request_id=REQUEST_ID,
    )
    assert told == ErrorContext(
        operation="validation",
        url=URL,
        error_type=ErrorCode.NETWORK_DNS,
        user_message="The platform's host name could not be resolved.",
        technical_details={"host": "www.tiktok.com"},
        recovery_options=(f"clipmill retry {REQUEST_ID}",),
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


@pytest.mark.parametrize("code", ErrorCode)
def test_without_a_request_nothing_is_offered(code: ErrorCode) -> None:
    assert context(code, request_id="").recovery_options == ()


@pytest.mark.parametrize(
    "request_id",
    ["", " ", "-o", "--config=x", "@name", "a b", "a\n", "a\u202e", "\u00e9", "x" * 177],
)
def test_what_is_no_clean_word_is_not_offered_to_a_shell(request_id: str) -> None:
    assert context(request_id=request_id).recovery_options == ()


@pytest.mark.parametrize(
    "request_id", ["a$(id)", "a;id", "a'\"`id`", "a/1", "a{request}", "x" * 176, "b/3/replay-1"]
)
def test_ids_are_quoted(request_id: str) -> None:
    again, smaller = context(request_id=request_id).recovery_options
    assert shlex.split(again) == ["clipmill", "retry", request_id]
    assert shlex.split(smaller) == ["clipmill", "retry", request_id, "--quality", "480p"]


@given(st.sampled_from(ErrorCode), st.text(), st.dictionaries(st.text(), st.text()), st.text())
def test_any_error_can_travel(
    code: ErrorCode, url: str, details: dict[str, str], request_id: str
) -> None:
    told = explain(code, operation="extraction", url=url, details=details, request_id=request_id)
    assert msgspec.json.decode(msgspec.json.encode(told), type=ErrorContext) == told
    assert all(
        shlex.split(command)[:3] == ["clipmill", "retry", request_id]
        for command in told.recovery_options
    )
