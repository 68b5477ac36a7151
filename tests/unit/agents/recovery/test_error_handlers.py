import asyncio
import logging
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from agents.recovery.decisions import Backoff, Change, DeadLetter, Fail, JobPatch, Park
from agents.recovery.error_handlers import GROUP, TIMEOUT_SECONDS, ErrorHandler, ErrorHandlers
from schemas.commands import OptionChanges
from schemas.errors import ErrorCode
from schemas.events import Failure
from tests.unit.agents.recovery.cases import NOW, extraction_failure

DNS = ErrorCode.NETWORK_DNS
BACKOFF = Backoff(due=NOW)


class StubHandler:
    """Returns, or raises, ``answer``."""

    def __init__(self, answer: Any = BACKOFF, *, able: Any = True) -> None:
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


class UncancellableHandler(StubHandler):
    """Suppresses cancellation until it is released."""

    def __init__(self, release: asyncio.Event) -> None:
        super().__init__()
        self.release = release
        self.cancellations = 0

    async def handle(self, failure: Failure) -> Any:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancellations += 1
        return await super().handle(failure)


def error_handlers(**named: ErrorHandler) -> ErrorHandlers:
    return ErrorHandlers(named)


ANSWERS = [
    BACKOFF,
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
async def test_every_decision_type_is_accepted_unchanged(answer: Any) -> None:
    assert await error_handlers(mine=StubHandler(answer)).decide(extraction_failure(DNS)) == answer


async def test_none_leaves_the_decision_to_the_policy() -> None:
    assert await error_handlers(mine=StubHandler(None)).decide(extraction_failure(DNS)) is None
    assert await error_handlers().decide(extraction_failure(DNS)) is None


async def test_first_capable_handler_by_name_decides_alone() -> None:
    chain = error_handlers(
        c=StubHandler(Fail()), b=StubHandler(DeadLetter()), a=StubHandler(able=False)
    )
    assert chain.names == ("a", "b", "c")
    assert await chain.decide(extraction_failure(DNS)) == DeadLetter()
    assert (
        await error_handlers(a=StubHandler(None), b=StubHandler(Fail())).decide(
            extraction_failure(DNS)
        )
        is None
    )


INVALID_ANSWERS: dict[str, Any] = {
    "an error": RuntimeError("oops"),
    "a cancellation": asyncio.CancelledError(),
    "a timeout of its own": TimeoutError(),
    "a string": "retry",
    "a decision class": Backoff,
    "a subclass": type("Mine", (Backoff,), {}, frozen=True)(due=NOW),
    "no due time": Backoff(due=None),  # type: ignore[arg-type]
    "a naive datetime": Backoff(due=datetime(2026, 1, 1)),  # noqa: DTZ001
    "an unknown strategy": Change(due=NOW, strategy="pray", changes=JobPatch()),  # type: ignore[arg-type]
    "no changes": Change(due=NOW, strategy="wait", changes=None),  # type: ignore[arg-type]
    "an unknown code": Park(due=NOW, code="x"),  # type: ignore[arg-type]
    "an unexpected field type": Backoff(due=object()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", INVALID_ANSWERS)
async def test_invalid_answer_is_ignored_and_logged(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        decision = await error_handlers(mine=StubHandler(INVALID_ANSWERS[name])).decide(
            extraction_failure(DNS)
        )
    assert decision is None
    assert "error handler mine returned no valid decision" in caplog.text


async def test_handler_failing_in_can_handle_is_skipped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain = error_handlers(a=StubHandler(able=RuntimeError("oops")), b=StubHandler())
    assert await chain.decide(extraction_failure(DNS)) == BACKOFF
    assert "error handler a" in caplog.text


async def test_slow_handler_times_out(caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()
    slow = UncancellableHandler(release)
    chain = ErrorHandlers({"slow": slow}, seconds=0.01)
    assert await chain.decide(extraction_failure(DNS)) is None
    assert "no answer within 0.01 s" in caplog.text
    await asyncio.sleep(0)
    assert slow.cancellations == 1
    release.set()
    await asyncio.sleep(0.01)


async def test_handler_is_cancelled_with_the_stage() -> None:
    release = asyncio.Event()
    slow = UncancellableHandler(release)
    task = asyncio.create_task(error_handlers(slow=slow).decide(extraction_failure(DNS)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert slow.cancellations == 1
    release.set()
    await asyncio.sleep(0.01)


def test_default_timeout_is_five_seconds() -> None:
    assert timedelta(seconds=5).total_seconds() == TIMEOUT_SECONDS
    assert ErrorHandlers({})._seconds == TIMEOUT_SECONDS


# Entry points


class FailsToStart:
    def __init__(self) -> None:
        raise RuntimeError("no licence")


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


BROKEN = {
    "module is missing": (entry_point("bad", "clipmill_no_such_module:X"), "ModuleNotFoundError"),
    "class is missing": (entry_point("bad", f"{__name__}:Missing"), "AttributeError"),
    "constructor fails": (entry_point("bad", f"{__name__}:FailsToStart"), "no licence"),
    "not a handler": (entry_point("bad", "builtins:int"), "no can_handle and handle"),
    "not a class": (entry_point("bad", f"{__name__}:BROKEN"), "not callable"),
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN.keys())
async def test_broken_handler_is_reported_and_others_still_load(
    broken: EntryPoint, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = ErrorHandlers.from_entry_points(
        [broken, entry_point("good", f"{__name__}:StubHandler")]
    )
    assert loaded.names == ("good",)
    assert list(loaded.broken) == ["bad"]
    assert reason in loaded.broken["bad"]
    assert broken.value in loaded.broken["bad"]
    assert "error handler bad" in caplog.text
    assert await loaded.decide(extraction_failure(DNS)) == BACKOFF


def test_no_handler_is_installed_by_default() -> None:
    loaded = ErrorHandlers.load()
    assert (loaded.names, loaded.broken) == ((), {})
