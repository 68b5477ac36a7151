"""Error handlers of others: who knows better than the policy table what to do about a failure."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar, cast, get_args, runtime_checkable

import msgspec

from agents.recovery.decisions import Decision
from schemas.failure import Failure

GROUP = "clipmill.error_handlers"
"""Entry points of this group name classes that need no arguments and are an `ErrorHandler`."""

ANSWER_SECONDS = 5.0
"""A handler that takes longer is not waited for: failures must not pile up behind it."""

log = logging.getLogger(__name__)

T = TypeVar("T")


@runtime_checkable
class ErrorHandler(Protocol):
    """Decides about failures of some kind. Both methods may be called at any time, side by side."""

    def can_handle(self, failure: Failure) -> bool:
        """Return whether `handle` is to be asked; without waiting for anything."""
        ...

    async def handle(self, failure: Failure) -> Decision | None:
        """Return what to do, None to leave it to clipmill.

        Copies of one failure may come; they should get the same answer.
        """
        ...


class ErrorHandlers:
    """The installed handlers, in the order of their names.

    Args:
        handlers: by name.
        broken: plug-ins that could not be loaded: entry-point name and what went wrong.
        seconds: how long an answer is waited for.
    """

    def __init__(
        self,
        handlers: Mapping[str, ErrorHandler],
        *,
        broken: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._handlers = dict(sorted(handlers.items()))
        self._seconds = seconds
        self.broken: Mapping[str, str] = dict(broken or {})

    @classmethod
    def load(cls) -> "ErrorHandlers":
        """Return every installed handler; the ones that cannot be loaded are in `broken`."""
        return cls.from_entry_points(entry_points(group=GROUP))

    @classmethod
    def from_entry_points(cls, points: Iterable[EntryPoint]) -> "ErrorHandlers":
        """Return the handlers of these entry points; see `load`."""
        handlers: dict[str, ErrorHandler] = {}
        broken: dict[str, str] = {}
        for point in points:
            try:
                handlers[point.name] = _load(point)
            except Exception as error:
                log.exception("error handler %s (%s) is broken", point.name, point.value)
                broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
        return cls(handlers, broken=broken)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the handlers that work, in the order in which they are asked."""
        return tuple(self._handlers)

    async def decide(self, failure: Failure) -> Decision | None:
        """Return what the first handler decides that can handle the failure.

        None: there is no such handler, it leaves it to clipmill, or it gave no usable answer.
        """
        for name, handler in self._handlers.items():
            if _can_handle(name, handler, failure):
                return await self._ask(name, handler, failure)
        return None

    async def _ask(self, name: str, handler: ErrorHandler, failure: Failure) -> Decision | None:
        try:
            answer = await _within(self._seconds, handler.handle(failure))
            return None if answer is None else _checked(answer)
        except Exception:
            log.exception("error handler %s gave no usable answer", name)
            return None


def _can_handle(name: str, handler: ErrorHandler, failure: Failure) -> bool:
    try:
        return bool(handler.can_handle(failure))
    except Exception:
        log.exception("error handler %s gave no usable answer", name)
        return False


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what comes of the work; one that does not stop when it is told to is left behind."""
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
    if not done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    if task.cancelled():
        raise RuntimeError("it cancelled itself")
    return task.result()


def _checked(answer: object) -> Decision:
    """Return the answer if it is a decision through and through.

    Raises:
        TypeError: it is none.
        msgspec.ValidationError: one of its fields is not what it should be.
    """
    if type(answer) not in get_args(Decision):
        raise TypeError(f"{type(answer).__name__} is no decision")
    checked: Any = msgspec.convert(msgspec.to_builtins(answer), type(answer))
    return cast(Decision, checked)


def _load(point: EntryPoint) -> ErrorHandler:
    handler = point.load()()
    if not isinstance(handler, ErrorHandler):
        raise TypeError("it has no can_handle and handle")
    return handler
