import logging

import pytest

from streams.intake import Intake
from streams.memory.users import MemoryUsers


def test_reliefs_of_all_open_stages_are_called() -> None:
    users, called = MemoryUsers(), []
    with (
        users.registered(Intake("a"), [lambda: called.append("a1"), lambda: called.append("a2")]),
        users.registered(Intake("b"), [lambda: called.append("b")]),
    ):
        users.drop_caches()
    users.drop_caches()
    assert called == ["a1", "a2", "b"], "and no relief of closed stages"


def test_relief_may_be_added_to_an_open_stage() -> None:
    users, called = MemoryUsers(), []
    reliefs = [lambda: called.append("first")]
    with users.registered(Intake("a"), reliefs):
        reliefs.append(lambda: called.append("second"))
        users.drop_caches()
    assert called == ["first", "second"]


def test_failing_relief_is_logged_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    users, called = MemoryUsers(), []

    def fail() -> None:
        raise RuntimeError("boom")

    with users.registered(Intake("a"), [fail, lambda: called.append("other")]):
        users.drop_caches()
    assert called == ["other"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_pause_and_resume_apply_to_all_intakes() -> None:
    users, first, second = MemoryUsers(), Intake("a"), Intake("b")
    with users.registered(first, []), users.registered(second, []):
        users.pause("memory: 9 of 10 MiB")
        assert first.problem() == second.problem() == users.problem() == "memory: 9 of 10 MiB"
        users.resume()
        assert (first.problem(), second.problem(), users.problem()) == (None, None, None)


def test_stage_that_opens_during_a_pause_is_paused() -> None:
    users, late = MemoryUsers(), Intake("late")
    users.pause("memory: full")
    with users.registered(late, []):
        assert late.problem() == "memory: full"
        users.resume()
        assert not late.paused


def test_pause_reasons_of_others_are_kept() -> None:
    users, intake = MemoryUsers(), Intake("a")
    intake.pause("storage", "the disk is full")
    with users.registered(intake, []):
        users.pause("memory: full")
        users.resume()
    assert intake.problem() == "the disk is full"


def test_intake_of_a_stage_closed_during_a_pause_is_not_resumed() -> None:
    users, intake = MemoryUsers(), Intake("a")
    with users.registered(intake, []):
        users.pause("memory: full")
    users.resume()
    assert intake.paused, "its successor has an intake of its own"
