import asyncio
import logging

import pytest

from schemas.codec import encode
from schemas.signals import IntakeSignal
from streams.cluster.shared_state import SharedState
from streams.intake import Intake
from streams.observability.metrics import INTAKE_PAUSED
from tests.unit.agents.builders import PAST

KEY = "intake/toy"


def signal(*, paused: bool, reason: str = "too many dead letters") -> bytes:
    return encode(IntakeSignal(paused=paused, reason=reason, by="toy", at=PAST))


def gauge() -> float:
    value: float = INTAKE_PAUSED.labels("toy")._value.get()
    return value


def is_open(intake: Intake) -> bool:
    return not intake.paused and intake.problem() is None and gauge() == 0


def test_new_intake_is_not_paused() -> None:
    assert is_open(Intake("toy"))


def test_intake_resumes_when_the_last_pause_reason_is_removed() -> None:
    intake = Intake("toy")
    intake.pause("storage", "the disk is full")
    intake.pause("operator", "wait")
    assert intake.problem() == "the disk is full; wait"
    intake.resume("storage")
    assert (intake.paused, intake.problem(), gauge()) == (True, "wait", 1)
    intake.resume("operator")
    assert is_open(intake)


def test_resume_without_matching_pause_has_no_effect() -> None:
    intake = Intake("toy")
    intake.resume("storage")
    assert is_open(intake)
    intake.pause("operator", "wait")
    intake.resume("storage")
    assert intake.paused


def test_repeated_pause_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    intake = Intake("toy")
    for reason in ("full", "still full"):
        intake.pause("storage", reason)
    intake.resume("storage")
    intake.resume("storage")
    assert [record.getMessage() for record in caplog.records] == [
        "the intake of toy is paused: full",
        "the intake of toy is resumed",
    ]


async def test_waiter_continues_when_the_intake_resumes() -> None:
    intake = Intake("toy")
    await intake.wait_until_open()
    intake.pause("storage", "full")
    waiting = asyncio.create_task(intake.wait_until_open())
    await asyncio.sleep(0)
    assert not waiting.done()
    intake.resume("storage")
    await asyncio.wait_for(waiting, 1)


def test_signals_pause_and_resume_the_intake() -> None:
    intake, shared_state = Intake("toy"), SharedState()
    shared_state.put(KEY, signal(paused=True))
    with intake.following(shared_state):
        assert intake.problem() == "too many dead letters"
        shared_state.put(KEY, signal(paused=False))
        assert is_open(intake)
        shared_state.put(KEY, signal(paused=True, reason="again"))
        assert intake.problem() == "again"
        shared_state.put(KEY, None)
        assert is_open(intake)


@pytest.mark.parametrize("value", [b"", b"\xff", b"{}", b"null"])
def test_unreadable_signal_counts_as_not_paused(value: bytes) -> None:
    intake, shared_state = Intake("toy"), SharedState()
    with intake.following(shared_state):
        shared_state.put(KEY, signal(paused=True))
        shared_state.put(KEY, value)
    assert is_open(intake)


def test_resume_signal_does_not_remove_the_stage_s_own_pause() -> None:
    intake, shared_state = Intake("toy"), SharedState()
    intake.pause("storage", "full")
    with intake.following(shared_state):
        shared_state.put(KEY, signal(paused=False))
    assert intake.problem() == "full"
