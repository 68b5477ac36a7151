"""Error handlers: plug-ins that decide about a failure before the retry policy does."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar, cast, get_args, runtime_checkable

import msgspec

from agents.recovery.decisions import Decision
from schemas.events import Failure

GROUP = "clipmill.error_handlers"
"""Entry-point group of classes that take no arguments and implement `ErrorHandler`."""

TIMEOUT_SECONDS = 5.0
"""Timeout of a handler, in seconds: failures must not pile up behind a slow one."""

log = logging.getLogger(__name__)

T = TypeVar("T")


@runtime_checkable
class ErrorHandler(Protocol):
    """Decides about some failures. Both methods may be called at any time, concurrently."""

    def can_handle(self, failure: Failure) -> bool:
        """Return whether `handle` decides about this failure; must not block."""
        ...

    async def handle(self, failure: Failure) -> Decision | None:
        """Return the decision, or None to leave it to the retry policy.

        Delivery is at-least-once: copies of one failure should get the same decision.
        """
        ...


class ErrorHandlers:
    """The installed handlers, in the order of their names.

    Args:
        handlers: by name.
        broken: plug-ins that failed to load: entry-point name and reason.
        seconds: timeout of a handler.
    """

    def __init__(
        self,
        handlers: Mapping[str, ErrorHandler],
        *,
        broken: Mapping[str, str] | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._handlers = dict(sorted(handlers.items()))
        self._seconds = seconds
        self.broken: Mapping[str, str] = dict(broken or {})

    @classmethod
    def load(cls) -> "ErrorHandlers":
        """Return every installed handler; `broken` names the handlers that failed to load."""
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
        """Names of the loaded handlers, in the order in which they are called."""
        return tuple(self._handlers)

    async def decide(self, failure: Failure) -> Decision | None:
        """Return the decision of the first handler that can handle the failure.

        None: there is no such handler, it returned None, raised, timed out, or returned no
        decision.
        """
        for name, handler in self._handlers.items():
            if _can_handle(name, handler, failure):
                return await self._call(name, handler, failure)
        return None

    async def _call(self, name: str, handler: ErrorHandler, failure: Failure) -> Decision | None:
        try:
            answer = await _with_timeout(self._seconds, handler.handle(failure))
            return None if answer is None else _validated(answer)
        except Exception:
            log.exception("error handler %s returned no valid decision", name)
            return None


def _can_handle(name: str, handler: ErrorHandler, failure: Failure) -> bool:
    try:
        return bool(handler.can_handle(failure))
    except Exception:
        log.exception("error handler %s returned no valid decision", name)
        return False


async def _with_timeout(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work; a task that ignores its cancellation is abandoned."""
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


def _validated(answer: object) -> Decision:
    """Return the answer if it is a valid decision, its fields included.

    Raises:
        TypeError: it is not a decision.
        msgspec.ValidationError: a field has the wrong type.
    """
    if type(answer) not in get_args(Decision):
        raise TypeError(f"{type(answer).__name__} is not a decision")
    checked: Any = msgspec.convert(msgspec.to_builtins(answer), type(answer))
    return cast(Decision, checked)


def _load(point: EntryPoint) -> ErrorHandler:
    handler = point.load()()
    if not isinstance(handler, ErrorHandler):
        raise TypeError("it has no can_handle and handle")
    return handler
