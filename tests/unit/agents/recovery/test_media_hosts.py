from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.recovery.decisions import Backoff, Change, Decision, Fail, JobPatch, Park
from agents.recovery.media_hosts import ATTEMPT_SECONDS, TOMBSTONES_MAX, MediaHostRecorder
from schemas.codec import decode
from schemas.errors import ErrorCode
from schemas.events import Failure
from schemas.signals import MEDIA_HOST, MediaHostWait
from streams.media_host_waits import HOSTS_MAX, VIDEOS_MAX, MediaHostWaits
from streams.records import Outgoing
from streams.topics import SIGNALS
from tests.unit.agents.builders import make_failure

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
HOST = "cdn.example"
BACKOFF = Backoff(due=LATER)


class RecorderHarness:
    def __init__(self) -> None:
        self.now = NOW
        self.waits = MediaHostWaits(lambda: self.now)
        self.recorder = MediaHostRecorder(self.waits)

    def record(
        self, video: str = "mine:1", decision: Decision = BACKOFF, **changes: Any
    ) -> list[Outgoing]:
        return self.recorder.record(failure(video, **changes), "mine", decision, self.now)


def failure(
    video: str,
    *,
    code: ErrorCode = ErrorCode.PLATFORM_CHANGED,
    permitted: bool = True,
    **details: str,
) -> Failure:
    made = make_failure(code, step="download", subject=video, permitted=permitted)
    details = details or {"host": HOST}
    return msgspec.structs.replace(
        made, error=msgspec.structs.replace(made.error, technical_details=details)
    )


def states(records: list[Outgoing]) -> list[MediaHostWait]:
    assert {each.topic for each in records} <= {SIGNALS}
    return [decode(each.value or b"", MediaHostWait) for each in records]


def test_retried_video_waits_until_its_next_attempt_has_ended() -> None:
    (record,) = RecorderHarness().record()
    (state,) = states([record])
    assert record.key == f"{MEDIA_HOST}mine/{HOST}/mine:1".encode()
    assert state.until == LATER + timedelta(seconds=ATTEMPT_SECONDS)
    assert (state.platform, state.host, state.video) == ("mine", HOST, "mine:1")


@pytest.mark.parametrize(
    ("decision", "changes"),
    [
        (Fail(), {}),
        (Change(due=NOW, strategy="other_format", changes=JobPatch()), {}),
        (BACKOFF, {"code": ErrorCode.NETWORK_DNS}),
        (BACKOFF, {"host": "10.0.0.1"}),
        (BACKOFF, {"host": "a." * 5_000 + "com"}),
        (BACKOFF, {"host": "\x00.example"}),
        (BACKOFF, {"reason": "another page"}),
    ],
    ids=["fails", "changes", "code", "address", "long", "control", "no host"],
)
def test_other_failure_starts_no_wait(decision: Decision, changes: dict[str, Any]) -> None:
    assert RecorderHarness().record(decision=decision, **changes) == []


def test_page_with_files_at_several_hosts_waits_for_each() -> None:
    found = states(RecorderHarness().record(hosts="a.example, b.example"))
    assert [each.host for each in found] == ["a.example", "b.example"]


def test_call_that_was_not_permitted_extends_the_wait() -> None:
    harness = RecorderHarness()
    harness.record()
    parked = Park(due=NOW + timedelta(hours=3), code=ErrorCode.PLATFORM_CHANGED)
    (state,) = states(
        harness.record(decision=parked, permitted=False, reason="the breaker is open")
    )
    assert (state.host, state.until) == (HOST, parked.due + timedelta(seconds=ATTEMPT_SECONDS))
    assert harness.record("mine:2", parked, permitted=False, reason="the breaker is open") == []


def test_burst_before_the_first_record_returns_stays_within_the_bounds() -> None:
    harness = RecorderHarness()
    for number in range(VIDEOS_MAX + 9):
        harness.record(f"mine:{number}")
    for number in range(HOSTS_MAX + 9):
        harness.record("mine:1", host=f"h{number}.example")
    hosts = harness.waits.hosts()
    assert len(hosts) == HOSTS_MAX
    assert hosts[0].videos == VIDEOS_MAX


def test_sweep_removes_what_has_ended_in_slices() -> None:
    harness = RecorderHarness()
    for host in range(3):
        for number in range(VIDEOS_MAX):
            harness.record(f"mine:{number}", host=f"h{host}.example")
    assert list(harness.recorder.sweep()) == []
    harness.now = LATER + timedelta(seconds=ATTEMPT_SECONDS)
    slices = list(harness.recorder.sweep())
    assert [len(each) for each in slices] == [TOMBSTONES_MAX, 3 * VIDEOS_MAX - TOMBSTONES_MAX]
    assert all(
        isinstance(each, Outgoing) and each.value is None for part in slices for each in part
    )
