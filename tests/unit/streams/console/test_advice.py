from typing import Any

import pytest

from schemas.error_catalog import MESSAGES
from schemas.errors import ErrorCode
from streams.console.advice import RETRY_ADVICE, RetryAdvice, advice_of, commands_of
from streams.console.commands import parse_options
from streams.console.forms import option_values
from tests.unit.streams.console.rows import row_with


def test_every_recovery_option_of_the_catalogue_has_a_retry() -> None:
    offered = {each for message in MESSAGES.values() for each in message.recovery_options}
    assert offered == set(RETRY_ADVICE)


@pytest.mark.parametrize("advice", RETRY_ADVICE.values())
def test_options_of_a_retry_are_those_of_the_form(advice: RetryAdvice) -> None:
    assert parse_options(option_values(advice.options)) is not None
    assert set(option_values(advice.options)) == set(advice.options)


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({"error": "network.timeout"}, ["Retry as it is", "Retry at 480p"]),
        ({"error": "request.too_large"}, ["Retry at 480p"]),
        ({"error": "request.too_large", "state": "rejected"}, []),
        ({"error": "content.private"}, []),
        ({"error": "content.withheld"}, ["Retry, and download it nevertheless"]),
        ({"error": "network.timeout", "is_final": False, "state": "retrying"}, []),
        ({"error": "of.another.version"}, []),
    ],
)
def test_retries_are_those_that_apply_to_the_error(
    fields: dict[str, Any], labels: list[str]
) -> None:
    advice = advice_of(row_with(**fields))
    assert advice is not None
    assert [each.label for each in advice.recoveries] == labels


def test_message_of_the_result_is_preferred() -> None:
    advice = advice_of(row_with(error="content.private", message="Private: of bob."))
    assert advice is not None
    assert (advice.code, advice.message) == (ErrorCode.CONTENT_PRIVATE, "Private: of bob.")
    advice = advice_of(row_with(error="content.private"))
    assert advice is not None
    assert advice.message == "The video is not public."


def test_request_without_an_error_needs_no_advice() -> None:
    assert advice_of(row_with(state="completed")) is None


@pytest.mark.parametrize(
    ("fields", "commands"),
    [
        (
            {"is_final": False, "state": "accepted"},
            ("clipmill status r", "clipmill watch r", "clipmill cancel r"),
        ),
        (
            {"error": "network.timeout"},
            ("clipmill status r", "clipmill retry r", "clipmill retry r --quality 480p"),
        ),
        ({"state": "completed"}, ("clipmill status r", "clipmill retry r")),
        ({"state": "batch_finished"}, ("clipmill status r",)),
        ({"id": "a'b"}, ("clipmill status 'a'\"'\"'b'", "clipmill retry 'a'\"'\"'b'")),
        ({"id": "a\nb"}, ()),
        ({"id": "--all"}, ()),
    ],
)
def test_commands_are_those_that_apply_to_the_state(
    fields: dict[str, Any], commands: tuple[str, ...]
) -> None:
    assert commands_of(row_with(**fields)) == commands
