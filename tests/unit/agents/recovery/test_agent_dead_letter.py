from typing import Any

import msgspec
import pytest

from agents.recovery.agent import dead_letter_of, platform_of
from schemas.errors import ErrorCode
from schemas.events import Failure
from streams.deadletters.headers import DeadLetterHeaders, split_headers
from streams.topics import DEADLETTERS
from tests.unit.agents.builders import (
    ENGINE,
    WRITTEN_AT,
    event_record,
    make_attempt,
    make_failure,
    make_job,
    validated,
)


def headers_of(failure: Failure, **job: Any) -> DeadLetterHeaders:
    _, headers = split_headers(dead_letter_of(failure, make_job(**job)).headers)
    assert headers is not None
    return headers


def test_dead_letter_keeps_the_record_byte_for_byte() -> None:
    dead_letter = dead_letter_of(make_failure(ErrorCode.INTERNAL_BUG), make_job())
    record = event_record(validated())
    record_headers, _ = split_headers(dead_letter.headers)
    assert (dead_letter.topic, dead_letter.key, dead_letter.value) == (
        DEADLETTERS,
        record.key,
        record.value,
    )
    assert record_headers == record.headers


def test_headers_describe_the_failure() -> None:
    failure = make_failure(ErrorCode.INTERNAL_BUG, engine=ENGINE, platform="tiktok")
    headers = headers_of(failure, attempts=(make_attempt(), make_attempt()), replays=2)
    assert (headers.step, headers.code, headers.attempts) == ("extraction", "internal.bug", 2)
    assert (headers.engine, headers.platform, headers.replays) == (ENGINE.yt_dlp, "tiktok", 2)
    assert (headers.request_id, headers.failed_at) == ("r1", WRITTEN_AT)
    assert (headers.origin_topic, headers.origin_offset) == ("videos.validated", 7)


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({}, "It failed."),
        ({"reason": "KeyError"}, "KeyError"),
        ({"reason": "https://h.example/a?sig=s3cret"}, "https://h.example/a"),
    ],
)
def test_reason_header_is_technical_and_without_secrets(
    details: dict[str, str], reason: str
) -> None:
    failure = make_failure(ErrorCode.INTERNAL_BUG)
    error = msgspec.structs.replace(failure.error, technical_details=details)
    assert headers_of(msgspec.structs.replace(failure, error=error)).reason == reason


@pytest.mark.parametrize(
    ("given", "platform"),
    [
        ({"platform": "tiktok"}, "tiktok"),
        ({"subject": "tiktok:123"}, "tiktok"),
        ({"subject": "https://vm.tiktok.com/x"}, ""),
        ({}, ""),
    ],
)
def test_platform_comes_from_the_failure_or_its_subject(
    given: dict[str, Any], platform: str
) -> None:
    assert platform_of(make_failure(ErrorCode.INTERNAL_BUG, **given)) == platform
