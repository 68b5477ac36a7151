from typing import Any

import msgspec
import pytest

from agents.recovery.agent import dead_letter_of, platform_of
from schemas.errors import ErrorCode
from schemas.failure import Failure
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


def facts_of(failure: Failure, **job: Any) -> DeadLetterHeaders:
    _, facts = split_headers(dead_letter_of(failure, make_job(**job)).headers)
    assert facts is not None
    return facts


def test_the_record_is_kept_byte_for_byte() -> None:
    letter = dead_letter_of(make_failure(ErrorCode.INTERNAL_BUG), make_job())
    record = event_record(validated())
    own, _ = split_headers(letter.headers)
    assert (letter.topic, letter.key, letter.value) == (DEADLETTERS, record.key, record.value)
    assert own == record.headers


def test_the_facts_are_those_of_the_failure() -> None:
    failure = make_failure(ErrorCode.INTERNAL_BUG, engine=ENGINE, platform="tiktok")
    facts = facts_of(failure, attempts=(make_attempt(), make_attempt()), replays=2)
    assert (facts.step, facts.code, facts.attempts) == ("extraction", "internal.bug", 2)
    assert (facts.engine, facts.platform, facts.replays) == (ENGINE.yt_dlp, "tiktok", 2)
    assert (facts.request_id, facts.failed_at) == ("r1", WRITTEN_AT)
    assert (facts.origin_topic, facts.origin_offset) == ("videos.validated", 7)


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({}, "It failed."),
        ({"reason": "KeyError"}, "KeyError"),
        ({"reason": "https://h.example/a?sig=s3cret"}, "https://h.example/a"),
    ],
)
def test_the_reason_is_the_technical_one_without_secrets(
    details: dict[str, str], reason: str
) -> None:
    failure = make_failure(ErrorCode.INTERNAL_BUG)
    error = msgspec.structs.replace(failure.error, technical_details=details)
    assert facts_of(msgspec.structs.replace(failure, error=error)).reason == reason


@pytest.mark.parametrize(
    ("given", "platform"),
    [
        ({"platform": "tiktok"}, "tiktok"),
        ({"subject": "tiktok:123"}, "tiktok"),
        ({"subject": "https://vm.tiktok.com/x"}, ""),
        ({}, ""),
    ],
)
def test_the_platform_is_told_or_stands_in_the_subject(
    given: dict[str, Any], platform: str
) -> None:
    assert platform_of(make_failure(ErrorCode.INTERNAL_BUG, **given)) == platform
