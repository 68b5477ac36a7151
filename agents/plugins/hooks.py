"""Guarded calls of one plug-in's hooks: errors are caught, slow calls are counted.

A plug-in is switched off after `TROUBLES_MAX` consecutive troubles. Its hooks run on the event
loop and have no timeout: a hook that blocks, blocks the process.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

from agents.plugins.request import PluginRequest

SLOW_SECONDS = 0.05
"""Duration from which a hook counts as slow: it blocks the event loop."""

TROUBLES_MAX = 10
"""Consecutive calls that raise or are slow, after which a plug-in is switched off."""

HOOKS = ("on_request_start", "on_request_complete", "on_request_error")
"""Hooks, of which a plug-in has at least one:

* ``on_request_start(request)``
* ``on_request_complete(request, seconds)``
* ``on_request_error(request, error, seconds)``
"""

CAUGHT_ERRORS = (Exception, asyncio.CancelledError, SystemExit)
"""Errors of hooks that are caught: a hook can neither fail nor cancel a request, nor end the
process."""

Trouble = Literal["error", "slow", "off"]
"""A hook raised, was slow, or the plug-in was switched off."""

log = logging.getLogger(__name__)


class Plugin:
    """A guarded plug-in; `call` never raises.

    Args:
        name: of its entry point.
        hooks: an object with any of `HOOKS`.
        count: called with the name and every trouble.
        timer: monotonic clock, in seconds.

    Raises:
        TypeError: no hook, or one that is not a plain function.
    """

    def __init__(
        self,
        name: str,
        hooks: object,
        *,
        count: Callable[[str, Trouble], None] = lambda _name, _trouble: None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = name
        self._calls = _hooks_of(hooks)
        self._count = count
        self._timer = timer
        self._consecutive = 0
        self._logged: set[Trouble] = set()

    @property
    def is_on(self) -> bool:
        """Whether its hooks are called."""
        return self._consecutive < TROUBLES_MAX

    def call(self, hook: str, request: PluginRequest, *facts: Any) -> None:
        """Call a hook if the plug-in has it and is on."""
        function = self._calls.get(hook)
        if function is None or not self.is_on:
            return
        began = self._timer()
        try:
            function(request, *facts)
        except CAUGHT_ERRORS as error:
            self._record("error", f"{hook} raised", error)
            return
        seconds = self._timer() - began
        if seconds > SLOW_SECONDS:
            self._record("slow", f"{hook} took {seconds:.3f} s and blocked the event loop")
        else:
            self._consecutive = 0

    def _record(self, trouble: Trouble, event: str, error: BaseException | None = None) -> None:
        self._consecutive += 1
        self._count(self.name, trouble)
        if trouble not in self._logged:
            self._logged.add(trouble)
            log.warning(
                "plug-in %s: %s; further ones are not logged", self.name, event, exc_info=error
            )
        if not self.is_on:
            self._count(self.name, "off")
            log.error(
                "plug-in %s is disabled until the next start: %d failures in a row, the latest: %s",
                self.name,
                self._consecutive,
                event,
            )


def _hooks_of(hooks: object) -> dict[str, Callable[..., Any]]:
    found = {name: getattr(hooks, name) for name in HOOKS if hasattr(hooks, name)}
    if not found:
        raise TypeError(f"it has none of {', '.join(HOOKS)}")
    for name, hook in found.items():
        if not callable(hook) or inspect.iscoroutinefunction(hook):
            raise TypeError(f"{name} is not a plain function; hooks are not awaited")
    return found
