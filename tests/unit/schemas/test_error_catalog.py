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
COMMANDS = re.compile(r"clipmill retry \S+( --quality 480p| --refresh)?")
REQUEST_ID = "order-1"


def context(
    code: ErrorCode = ErrorCode.NETWORK_TIMEOUT, request_id: str = REQUEST_ID, **details: str
) -> ErrorContext:
    return explain(code, operation="extraction", url=URL, details=details, request_id=request_id)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_message_and_suggested_actions(code: ErrorCode) -> None:
    explained = context(code)
    assert explained.error_type is code
    assert SENTENCE.fullmatch(explained.user_message)
    assert explained.suggested_actions
    assert all(SENTENCE.fullmatch(action) for action in explained.suggested_actions)


@pytest.mark.parametrize("code", ErrorCode)
def test_recovery_options_are_complete_commands(code: ErrorCode) -> None:
    commands = context(code).recovery_options
    assert len(set(commands)) == len(commands)
    assert all(COMMANDS.fullmatch(command) for command in commands)
    assert all(shlex.split(command)[2] == REQUEST_ID for command in commands)


def test_message_is_unique_per_code() -> None:
    assert set(MESSAGES) == set(ErrorCode)
    assert len({message.user_message for message in MESSAGES.values()}) == len(MESSAGES)


UNRECOVERABLE = {
    ErrorCode.CONTENT_NOT_FOUND,
    ErrorCode.CONTENT_PRIVATE,
    ErrorCode.CONTENT_UNSUPPORTED,
    ErrorCode.CONTENT_LIVE_ENDED,
    ErrorCode.CONTENT_AGE_RESTRICTED,
    ErrorCode.REQUEST_INVALID,
}


@pytest.mark.parametrize("code", ErrorCode)
def test_recovery_options_are_given_for_recoverable_codes_only(code: ErrorCode) -> None:
    assert bool(context(code).recovery_options) == (code not in UNRECOVERABLE)


def test_context_has_operation_url_and_details() -> None:
    explained = explain(
        ErrorCode.NETWORK_DNS,
        operation="validation",
        url=URL,
        details={"host": "www.tiktok.com"},
        request_id=REQUEST_ID,
    )
    assert explained == ErrorContext(
        operation="validation",
        url=URL,
        error_type=ErrorCode.NETWORK_DNS,
        user_message="The platform's host name could not be resolved.",
        technical_details={"host": "www.tiktok.com"},
        recovery_options=(f"clipmill retry {REQUEST_ID}",),
        suggested_actions=explained.suggested_actions,
    )


def test_details_are_optional() -> None:
    explained = explain(ErrorCode.INTERNAL_BUG, operation="download", url=URL)
    assert explained.technical_details == {}


@pytest.mark.parametrize(
    ("field", "reason", "message"),
    [
        ("$.urls[3]", "it is empty", "The request is invalid: urls[3]: it is empty."),
        ("$", "not JSON", "The request is invalid: not JSON."),
        ("$.id", "", "The request is invalid: id."),
        ("$.id", "id is too long", "The request is invalid: id is too long."),
    ],
)
def test_field_is_named_in_the_message(field: str, reason: str, message: str) -> None:
    explained = context(ErrorCode.REQUEST_INVALID, field=field, reason=reason)
    assert explained.user_message == message


@pytest.mark.parametrize(
    ("field", "action"),
    [
        ("$", "Split a large batch."),
        ("$.url", "Split a large batch."),
        ("options.max_bytes", "Request a lower quality, or raise max_bytes."),
        ("", "Request a lower quality, or raise max_bytes."),
    ],
)
def test_large_request_and_large_file_have_different_actions(field: str, action: str) -> None:
    details = {"field": field} if field else {}
    assert action in context(ErrorCode.REQUEST_TOO_LARGE, **details).suggested_actions


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("", "The request is invalid."),
        ("it is empty", "The request is invalid: it is empty."),
        ("it is empty.", "The request is invalid: it is empty."),
        (" two\nlines ", "The request is invalid: two lines."),
        ("x" * 1_000, f"The request is invalid: {'x' * 300}."),
    ],
)
def test_reason_becomes_part_of_the_message(reason: str, message: str) -> None:
    explained = context(ErrorCode.REQUEST_INVALID, reason=reason)
    assert explained.user_message == message
    assert explained.technical_details == {"reason": reason}


@pytest.mark.parametrize("code", ErrorCode)
def test_no_recovery_options_without_a_request(code: ErrorCode) -> None:
    assert context(code, request_id="").recovery_options == ()


@pytest.mark.parametrize(
    "request_id",
    ["", " ", "-o", "--config=x", "@name", "a b", "a\n", "a\u202e", "\u00e9", "x" * 177],
)
def test_unsafe_request_id_gives_no_recovery_options(request_id: str) -> None:
    assert context(request_id=request_id).recovery_options == ()


@pytest.mark.parametrize(
    "request_id", ["a$(id)", "a;id", "a'\"`id`", "a/1", "a{request}", "x" * 176, "b/3/replay-1"]
)
def test_request_id_is_quoted_for_the_shell(request_id: str) -> None:
    again, smaller = context(request_id=request_id).recovery_options
    assert shlex.split(again) == ["clipmill", "retry", request_id]
    assert shlex.split(smaller) == ["clipmill", "retry", request_id, "--quality", "480p"]


@given(st.sampled_from(ErrorCode), st.text(), st.dictionaries(st.text(), st.text()), st.text())
def test_any_error_context_round_trips(
    code: ErrorCode, url: str, details: dict[str, str], request_id: str
) -> None:
    explained = explain(
        code, operation="extraction", url=url, details=details, request_id=request_id
    )
    assert msgspec.json.decode(msgspec.json.encode(explained), type=ErrorContext) == explained
    assert all(
        shlex.split(command)[:3] == ["clipmill", "retry", request_id]
        for command in explained.recovery_options
    )
