from datetime import UTC, datetime
from typing import Any

import pytest

from streams.console.timeline import FULL_WIDTH, Phase, failed_endpoints, timeline
from streams.history.changes import RequestEvent
from tests.unit.streams.console.rows import row_with


def event(transition: str, at: float, stage: str = "s", **detail: str) -> RequestEvent:
    return RequestEvent(at=at, step=stage, transition=transition, detail=detail)


def due(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


ACCEPTED = event("accepted", 101.0, "validation")
RETRYING = event(
    "retrying",
    104.0,
    "recovery",
    step="extraction",
    code="network.timeout",
    due=due(109.0),
    endpoint="tiktok:extract:direct",
    strategy="lower_quality",
    quality="best -> 720p",
)
EXTRACTED = event("extracted", 110.0, "extraction")
FINISHED = event("finished", 112.0, "download")


def phases_of(*events: RequestEvent, now: float = 200.0, **fields: Any) -> list[Phase]:
    return timeline(row_with(received_at=100.0, **fields), events, now)


def kinds_of(phases: list[Phase]) -> list[tuple[str, str, float]]:
    return [(each.kind, each.step, each.seconds) for each in phases]


def test_steps_and_waits_follow_each_other() -> None:
    phases = phases_of(ACCEPTED, RETRYING, EXTRACTED, FINISHED, is_final=True, state="completed")
    assert kinds_of(phases) == [
        ("step", "validation", 1.0),
        ("failed", "extraction", 3.0),
        ("wait", "extraction", 5.0),
        ("step", "extraction", 1.0),
        ("step", "download", 2.0),
    ]
    assert phases[1].error == "network.timeout"
    assert phases[1].changes == {"strategy": "lower_quality", "quality": "best -> 720p"}
    assert [each.offset for each in phases] == pytest.approx(
        [0, 1 / 12 * FULL_WIDTH, 4 / 12 * FULL_WIDTH, 9 / 12 * FULL_WIDTH, 10 / 12 * FULL_WIDTH]
    )


def test_wait_for_the_next_attempt_has_not_ended() -> None:
    phases = phases_of(ACCEPTED, RETRYING, now=106.0, is_final=False, state="retrying")
    assert kinds_of(phases)[-1] == ("wait", "extraction", 2.0)
    assert phases[-1].is_open


def test_wait_that_was_cut_short_ends_with_the_next_transition() -> None:
    early = event("finished", 105.0, "extraction")
    phases = phases_of(ACCEPTED, RETRYING, early, is_final=True, state="cancelled")
    assert kinds_of(phases)[-2:] == [("wait", "extraction", 1.0), ("step", "extraction", 0.0)]


def test_last_step_of_a_failed_request_has_its_error() -> None:
    phases = phases_of(ACCEPTED, FINISHED, is_final=True, state="failed", error="content.private")
    assert (phases[-1].kind, phases[-1].error) == ("failed", "content.private")


def test_command_takes_no_time() -> None:
    phases = phases_of(event("ordered", 100.5), ACCEPTED, is_final=False)
    assert kinds_of(phases) == [("step", "validation", 1.0)]


@pytest.mark.parametrize(
    "events",
    [
        (event("accepted", 1.0),),
        (event("accepted", 100.0),),
        (event("retrying", 101.0, due="soon"),),
        (event("parked", 101.0, due=due(0)), event("finished", 50.0)),
        (),
    ],
)
def test_clocks_that_differ_break_nothing(events: tuple[RequestEvent, ...]) -> None:
    for phase in phases_of(*events, now=99.0, is_final=False):
        assert phase.seconds >= 0
        assert 0 <= phase.offset < FULL_WIDTH
        assert 0 < phase.width <= FULL_WIDTH


def test_failed_attempts_are_counted_by_endpoint() -> None:
    phases = phases_of(ACCEPTED, RETRYING, RETRYING, is_final=False)
    assert failed_endpoints(phases) == [("tiktok:extract:direct", [("network.timeout", 2)])]
