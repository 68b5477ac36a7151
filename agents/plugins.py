"""Third-party plug-ins: hooks around every network request, isolated from its outcome.

Errors of hooks are caught and slow calls counted, and a plug-in is switched off after
`TROUBLES_MAX` consecutive troubles. Hooks run on the event loop and have no timeout: a hook that
blocks, blocks the process.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from schemas.attempts import Operation
from schemas.errors import ClipmillError, Endpoint, ErrorCode
from schemas.job import Job

__all__ = [
    "GROUP",
    "HOOKS",
    "AttemptOutcome",
    "Plugin",
    "PluginRequest",
    "Plugins",
    "Trouble",
    "describe",
    "outcome_of",
]

GROUP = "clipmill.plugins"
"""Entry point group; each names a callable without arguments that returns a plug-in."""

HOOKS = ("on_request_start", "on_request_complete", "on_request_error")
"""Hooks, of which a plug-in has at least one:

* ``on_request_start(request)``
* ``on_request_complete(request, seconds)``
* ``on_request_error(request, error, seconds)``
"""

SLOW_SECONDS = 0.05
"""Duration from which a hook counts as slow: it blocks the event loop."""

TROUBLES_MAX = 10
"""Consecutive calls that raise or are slow, after which a plug-in is switched off."""

CAUGHT_ERRORS = (Exception, asyncio.CancelledError, SystemExit)
"""Errors of hooks that are caught: a hook can neither fail nor cancel a request, nor end the
process."""

AttemptOutcome = str
"""``ok``, ``cancelled``, or one of `schemas.errors.ErrorCode`: bounded, so usable as a label."""

OK: AttemptOutcome = "ok"
CANCELLED: AttemptOutcome = "cancelled"

Trouble = Literal["error", "slow", "off"]
"""A hook raised, was slow, or the plug-in was switched off."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRequest:
    """One attempt at a network request, without credentials and queries.

    Attempts of redelivered copies of one event are equal; compare by identity (``is``) to
    distinguish them.

    Attributes:
        platform: name of the platform, such as ``tiktok``.
        operation: ``resolve`` a short link, ``extract`` a page, ``download`` a file.
        egress: name of the egress.
        request_id: of the client's request.
        subject: the video's key, or the short link without its query.
        attempt: number of the attempt of this step for this request, from 1.
        trace_id: W3C trace id, 32 hex digits.
    """

    platform: str
    operation: Operation
    egress: str
    request_id: str
    subject: str
    attempt: int
    trace_id: str


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


class Plugins:
    """The plug-ins of a process, called in the order of their names. No method raises.

    Args:
        plugins: guarded plug-ins.
        timer: monotonic clock, in seconds.
    """

    def __init__(
        self, plugins: Sequence[Plugin] = (), *, timer: Callable[[], float] = time.perf_counter
    ) -> None:
        self._plugins = tuple(sorted(plugins, key=lambda plugin: plugin.name))
        self._timer = timer

    @classmethod
    def load(cls, *, count: Callable[[str, Trouble], None]) -> "Plugins":
        """Load every installed plug-in; a failed one is logged, counted and skipped."""
        return cls.from_entry_points(entry_points(group=GROUP), count=count)

    @classmethod
    def from_entry_points(
        cls, points: Iterable[EntryPoint], *, count: Callable[[str, Trouble], None]
    ) -> "Plugins":
        """Load the plug-ins of these entry points; see `load`."""
        plugins: list[Plugin] = []
        for point in points:
            try:
                plugins.append(Plugin(point.name, point.load()(), count=count))
            except Exception:
                log.exception("plug-in %s (%s) cannot be used", point.name, point.value)
                count(point.name, "error")
                count(point.name, "off")
        return cls(plugins)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the plug-ins, switched-off ones included."""
        return tuple(plugin.name for plugin in self._plugins)

    def start(self, request: PluginRequest) -> None:
        """Notify of the start of a request."""
        for plugin in self._plugins:
            plugin.call("on_request_start", request)

    def complete(self, request: PluginRequest, seconds: float) -> None:
        """Notify of success."""
        for plugin in self._plugins:
            plugin.call("on_request_complete", request, seconds)

    def error(self, request: PluginRequest, error: BaseException, seconds: float) -> None:
        """Notify of a failure; of a cancelled request, the error is an `asyncio.CancelledError`."""
        for plugin in self._plugins:
            plugin.call("on_request_error", request, error, seconds)

    @contextmanager
    def watching(self, request: PluginRequest) -> Iterator[None]:
        """Notify of the start and the outcome of the request made in the block."""
        began = self._timer()
        self.start(request)
        try:
            yield
        except BaseException as error:
            self.error(request, error, self._timer() - began)
            raise
        self.complete(request, self._timer() - began)


def describe(job: Job, subject: str, endpoint: Endpoint, *, step: str) -> PluginRequest:
    """Return the description of a step's attempt for plug-ins; attempts are counted by step."""
    return PluginRequest(
        platform=endpoint.platform,
        operation=endpoint.operation,
        egress=endpoint.egress,
        request_id=job.request_id,
        subject=_without_query(subject),
        attempt=job.attempt_number(step),
        trace_id=job.trace_id,
    )


def _without_query(subject: str) -> str:
    """Remove the parts of a URL that may hold tokens: query, fragment and user."""
    if "://" not in subject:
        return subject
    try:
        parts = urlsplit(subject)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def outcome_of(error: BaseException) -> AttemptOutcome:
    """Return the outcome of a failed request; an unexpected error is ``internal.bug``."""
    if isinstance(error, ClipmillError):
        return error.code.value
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED
    return ErrorCode.INTERNAL_BUG.value
