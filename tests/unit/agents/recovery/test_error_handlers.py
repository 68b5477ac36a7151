import asyncio
import logging
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from agents.recovery.decisions import Change, DeadLetter, Fail, JobPatch, Park, Retry
from agents.recovery.error_handlers import ANSWER_SECONDS, GROUP, ErrorHandler, ErrorHandlers
from schemas.commands import OptionChanges
from schemas.errors import ErrorCode
from schemas.failure import Failure
from tests.unit.agents.recovery.cases import NOW, failed

DNS = ErrorCode.NETWORK_DNS
RETRY = Retry(due=NOW)


class Toy:
    """Answers as it is told to."""

    def __init__(self, answer: Any = RETRY, *, able: Any = True) -> None:
        self.answer = answer
        self.able = able

    def can_handle(self, failure: Failure) -> bool:
        assert failure.error.error_type is DNS
        if isinstance(self.able, Exception):
            raise self.able
        return bool(self.able)

    async def handle(self, failure: Failure) -> Any:
        assert failure.error.error_type is DNS
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Stubborn(Toy):
    """Does not stop when it is told to."""

    def __init__(self, release: asyncio.Event) -> None:
        super().__init__()
        self.release = release
        self.told = 0

    async def handle(self, failure: Failure) -> Any:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.told += 1
        return await super().handle(failure)


def handlers(**named: ErrorHandler) -> ErrorHandlers:
    return ErrorHandlers(named)


ANSWERS = [
    RETRY,
    Park(due=NOW, code=DNS),
    Change(
        due=NOW,
        strategy="lower_quality",
        changes=JobPatch(
            options=OptionChanges(quality="360p", max_bytes=None), changed={"quality": "x"}
        ),
        restart="extraction",
        counted=True,
    ),
    DeadLetter(),
    Fail(),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
async def test_every_kind_of_decision_is_taken_as_it_is(answer: Any) -> None:
    assert await handlers(mine=Toy(answer)).decide(failed(DNS)) == answer


async def test_none_leaves_it_to_clipmill() -> None:
    assert await handlers(mine=Toy(None)).decide(failed(DNS)) is None
    assert await handlers().decide(failed(DNS)) is None


async def test_the_first_by_name_that_can_handle_it_decides_alone() -> None:
    asked = handlers(c=Toy(Fail()), b=Toy(DeadLetter()), a=Toy(able=False))
    assert asked.names == ("a", "b", "c")
    assert await asked.decide(failed(DNS)) == DeadLetter()
    assert await handlers(a=Toy(None), b=Toy(Fail())).decide(failed(DNS)) is None


NO_ANSWERS: dict[str, Any] = {
    "an error": RuntimeError("oops"),
    "a cancellation": asyncio.CancelledError(),
    "a timeout of its own": TimeoutError(),
    "a word": "retry",
    "a kind of decision": Retry,
    "a subclass": type("Mine", (Retry,), {}, frozen=True)(due=NOW),
    "no moment": Retry(due=None),  # type: ignore[arg-type]
    "a moment without a zone": Retry(due=datetime(2026, 1, 1)),  # noqa: DTZ001
    "an unknown strategy": Change(due=NOW, strategy="pray", changes=JobPatch()),  # type: ignore[arg-type]
    "no changes": Change(due=NOW, strategy="wait", changes=None),  # type: ignore[arg-type]
    "an unknown code": Park(due=NOW, code="x"),  # type: ignore[arg-type]
    "an object in it": Retry(due=object()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_what_is_no_decision_is_ignored(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        found = await handlers(mine=Toy(NO_ANSWERS[name])).decide(failed(DNS))
    assert found is None
    assert "error handler mine gave no usable answer" in caplog.text


async def test_one_that_fails_before_it_is_asked_is_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = handlers(a=Toy(able=RuntimeError("oops")), b=Toy())
    assert await asked.decide(failed(DNS)) == RETRY
    assert "error handler a" in caplog.text


async def test_one_that_takes_too_long_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()
    slow = Stubborn(release)
    asked = ErrorHandlers({"slow": slow}, seconds=0.01)
    assert await asked.decide(failed(DNS)) is None
    assert "no answer within 0.01 s" in caplog.text
    await asyncio.sleep(0)
    assert slow.told == 1
    release.set()
    await asyncio.sleep(0.01)


async def test_one_that_waits_is_stopped_when_the_stage_is() -> None:
    release = asyncio.Event()
    slow = Stubborn(release)
    task = asyncio.create_task(handlers(slow=slow).decide(failed(DNS)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert slow.told == 1
    release.set()
    await asyncio.sleep(0.01)


def test_an_answer_is_waited_for_five_seconds() -> None:
    assert timedelta(seconds=5).total_seconds() == ANSWER_SECONDS
    assert ErrorHandlers({})._seconds == ANSWER_SECONDS


# Installed ones


class FailsToStart:
    def __init__(self) -> None:
        raise RuntimeError("no licence")


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


BROKEN = {
    "module is missing": (point("bad", "clipmill_no_such_module:X"), "ModuleNotFoundError"),
    "class is missing": (point("bad", f"{__name__}:Missing"), "AttributeError"),
    "constructor fails": (point("bad", f"{__name__}:FailsToStart"), "no licence"),
    "no handler": (point("bad", "builtins:int"), "no can_handle and handle"),
    "not a class": (point("bad", f"{__name__}:BROKEN"), "not callable"),
}


@pytest.mark.parametrize(("broken", "why"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_plug_in_is_named_and_hides_no_other(
    broken: EntryPoint, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = ErrorHandlers.from_entry_points([broken, point("good", f"{__name__}:Toy")])
    assert found.names == ("good",)
    assert list(found.broken) == ["bad"]
    assert why in found.broken["bad"]
    assert broken.value in found.broken["bad"]
    assert "error handler bad" in caplog.text
    assert await found.decide(failed(DNS)) == RETRY


def test_none_is_installed_with_clipmill() -> None:
    found = ErrorHandlers.load()
    assert (found.names, found.broken) == ((), {})
