"""Failures, breakers and recovery options for the tests of decisions."""

from datetime import timedelta
from typing import Any

import msgspec

from agents.recovery.decisions import RecoveryOptions
from schemas.errors import ErrorCode
from schemas.events import Failure
from schemas.job import Attempt, Parking
from schemas.request import Options
from schemas.signals import BreakerState
from schemas.video import SelectedSource, VideoFormat
from tests.unit.agents.builders import (
    WRITTEN_AT,
    make_attempt,
    make_failure,
    make_job,
    selected,
    validated,
)

NOW = WRITTEN_AT + timedelta(seconds=60)
DAY = timedelta(days=1)
ACCOUNTS = ("main", "spare")


def format_of(name: str, side: int, **changes: Any) -> VideoFormat:
    defaults = VideoFormat(
        format_id=name,
        container="mp4",
        video_codec="h264",
        audio_codec="aac",
        width=side,
        height=2 * side,
    )
    return msgspec.structs.replace(defaults, **changes)


FORMATS = (format_of("high", 1080), format_of("middle", 720), format_of("low", 540))


def recovery_options(
    *egresses: str, accounts: tuple[str, ...] = (), formats: tuple[VideoFormat, ...] = ()
) -> RecoveryOptions:
    return RecoveryOptions(egresses=egresses, accounts=accounts, formats=formats)


def extraction_failure(
    code: ErrorCode,
    *,
    step: str = "extraction",
    attempts: tuple[Attempt, ...] = (),
    options: Options | None = None,
    retry_after_seconds: float | None = None,
    permitted: bool = True,
    has_endpoint: bool = True,
    account: str | None = None,
    **changes: Any,
) -> Failure:
    """A failed extraction over egress a; ``changes`` are those of the job."""
    event = validated(attempts=attempts, options=options or Options(), **changes)
    endpoint: dict[str, Any] = {"platform": "tiktok", "operation": "extract", "egress": "a"}
    return make_failure(
        code,
        event,
        step=step,
        retry_after_seconds=retry_after_seconds,
        permitted=permitted,
        account=account,
        **(endpoint if has_endpoint else {}),
    )


def download_failure(
    code: ErrorCode = ErrorCode.CONTENT_LINK_EXPIRED,
    format_id: str = "high",
    *,
    page_reread: bool = False,
    options: Options | None = None,
    **changes: Any,
) -> Failure:
    """A failed download over egress a; ``changes`` are those of the job."""
    if page_reread:
        changes["attempts"] = (*changes.get("attempts", ()), fresh_extraction_attempt())
    job = make_job(options=options or Options(), **changes)
    source = SelectedSource(format=format_of(format_id, 720), url="https://v16.tiktokcdn.com/v.mp4")
    return make_failure(
        code,
        msgspec.structs.replace(selected(source), job=job),
        step="download",
        platform="tiktok",
        operation="download",
        egress="a",
        format_id=format_id,
    )


def fresh_extraction_attempt(code: ErrorCode = ErrorCode.CONTENT_LINK_EXPIRED) -> Attempt:
    return Attempt(
        step="download",
        code=code,
        at=WRITTEN_AT,
        counted=False,
        strategy="fresh_extraction",
        changed={"page": "read again"},
    )


def changed_attempts(code: ErrorCode, times: int, step: str = "extraction") -> tuple[Attempt, ...]:
    """Uncounted attempts, each followed by an immediate change."""
    one = Attempt(
        step=step,
        code=code,
        at=WRITTEN_AT,
        counted=False,
        strategy="other_egress",
        changed={"egress": "z -> another"},
    )
    return (one,) * times


def counted_attempts(code: ErrorCode, times: int, step: str = "extraction") -> tuple[Attempt, ...]:
    return (make_attempt(code, step),) * times


def parking(times: int, code: ErrorCode) -> Parking:
    return Parking(times=times, since=WRITTEN_AT, code=code)


def breaker(
    state: str, until: float | None = None, budget: float | None = None, since: float = 0
) -> BreakerState:
    """A breaker's state; the times are seconds after `NOW`."""
    opened_at = NOW + timedelta(seconds=since)
    defaults = BreakerState(platform="tiktok", operation="extract", egress="a", since=opened_at)
    return msgspec.structs.replace(
        defaults,
        state=state,
        until=None if until is None else NOW + timedelta(seconds=until),
        budget_until=None if budget is None else NOW + timedelta(seconds=budget),
    )
