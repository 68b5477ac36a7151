import logging

import pytest

from streams.intake import Intake
from streams.memory.users import MemoryUsers


def test_all_reliefs_of_open_stages_are_called() -> None:
    users, called = MemoryUsers(), []
    with (
        users.using(Intake("a"), [lambda: called.append("a1"), lambda: called.append("a2")]),
        users.using(Intake("b"), [lambda: called.append("b")]),
    ):
        users.relieve()
    users.relieve()
    assert called == ["a1", "a2", "b"], "and none of stages that are closed"


def test_a_relief_may_be_added_while_the_stage_is_open() -> None:
    users, called = MemoryUsers(), []
    reliefs = [lambda: called.append("first")]
    with users.using(Intake("a"), reliefs):
        reliefs.append(lambda: called.append("second"))
        users.relieve()
    assert called == ["first", "second"]


def test_a_relief_that_fails_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    users, called = MemoryUsers(), []

    def fail() -> None:
        raise RuntimeError("boom")

    with users.using(Intake("a"), [fail, lambda: called.append("other")]):
        users.relieve()
    assert called == ["other"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_pause_stops_all_intakes_and_a_resume_starts_them() -> None:
    users, first, second = MemoryUsers(), Intake("a"), Intake("b")
    with users.using(first, []), users.using(second, []):
        users.pause("memory: 9 of 10 MiB")
        assert first.problem() == second.problem() == users.problem() == "memory: 9 of 10 MiB"
        users.resume()
        assert (first.problem(), second.problem(), users.problem()) == (None, None, None)


def test_a_stage_that_opens_in_a_pause_waits_too() -> None:
    users, late = MemoryUsers(), Intake("late")
    users.pause("memory: full")
    with users.using(late, []):
        assert late.problem() == "memory: full"
        users.resume()
        assert not late.paused


def test_other_reasons_stay() -> None:
    users, intake = MemoryUsers(), Intake("a")
    intake.pause("storage", "the disk is full")
    with users.using(intake, []):
        users.pause("memory: full")
        users.resume()
    assert intake.problem() == "the disk is full"


def test_a_stage_that_closes_in_a_pause_is_left_alone() -> None:
    users, intake = MemoryUsers(), Intake("a")
    with users.using(intake, []):
        users.pause("memory: full")
    users.resume()
    assert intake.paused, "its successor has an intake of its own"
