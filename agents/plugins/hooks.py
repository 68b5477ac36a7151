"""One plug-in and what guards us against it: it may raise or be slow, and hurts nobody."""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

from agents.plugins.request import PluginRequest

SLOW_SECONDS = 0.05
"""A hook that takes longer is counted: nothing else in the process goes on while it runs."""

TROUBLES_MAX = 10
"""Calls in a row that raise or are slow, after which a plug-in is not called any more."""

HOOKS = ("on_request_start", "on_request_complete", "on_request_error")
"""Any of them makes a plug-in:

* ``on_request_start(request)``
* ``on_request_complete(request, seconds)``
* ``on_request_error(request, error, seconds)``
"""

STOPPED = (Exception, asyncio.CancelledError, SystemExit)
"""What a hook may raise: the request goes on, it is not cancelled, and the process does not end."""

Trouble = Literal["error", "slow", "off"]
"""A hook raised, was slow, or the plug-in was switched off."""

log = logging.getLogger(__name__)


class Plugin:
    """A plug-in behind its guard; `call` never raises.

    Args:
        name: of its entry point.
        hooks: an object with any of `HOOKS`.
        count: told of every trouble.
        timer: seconds.

    Raises:
        TypeError: it has no hook, or one that is not a plain function.
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
        self._in_a_row = 0
        self._explained: set[Trouble] = set()

    @property
    def is_on(self) -> bool:
        """Whether it is still called."""
        return self._in_a_row < TROUBLES_MAX

    def call(self, hook: str, request: PluginRequest, *facts: Any) -> None:
        """Call a hook, if the plug-in has it and is on."""
        function = self._calls.get(hook)
        if function is None or not self.is_on:
            return
        began = self._timer()
        try:
            function(request, *facts)
        except STOPPED as error:
            self._note("error", f"{hook} raised", error)
            return
        seconds = self._timer() - began
        if seconds > SLOW_SECONDS:
            self._note("slow", f"{hook} took {seconds:.3f} s, and everything waits meanwhile")
        else:
            self._in_a_row = 0

    def _note(self, trouble: Trouble, what: str, error: BaseException | None = None) -> None:
        self._in_a_row += 1
        self._count(self.name, trouble)
        if trouble not in self._explained:
            self._explained.add(trouble)
            log.warning("plug-in %s: %s; this is said once", self.name, what, exc_info=error)
        if not self.is_on:
            self._count(self.name, "off")
            log.error(
                "plug-in %s is off until the next start: %d troubles in a row, the last: %s",
                self.name,
                self._in_a_row,
                what,
            )


def _hooks_of(hooks: object) -> dict[str, Callable[..., Any]]:
    found = {name: getattr(hooks, name) for name in HOOKS if hasattr(hooks, name)}
    if not found:
        raise TypeError(f"it has none of {', '.join(HOOKS)}")
    for name, hook in found.items():
        if not callable(hook) or inspect.iscoroutinefunction(hook):
            raise TypeError(f"{name} is not a plain function; hooks are not awaited")
    return found
