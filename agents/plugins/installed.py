"""Installed plug-ins, loaded from entry points and notified around every network request."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

from agents.plugins.hooks import Plugin, Trouble
from agents.plugins.request import PluginRequest

GROUP = "clipmill.plugins"
"""Entry point group; each names a callable without arguments that returns a plug-in."""

log = logging.getLogger(__name__)


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
        self._call("on_request_start", request)

    def complete(self, request: PluginRequest, seconds: float) -> None:
        """Notify of success."""
        self._call("on_request_complete", request, seconds)

    def error(self, request: PluginRequest, error: BaseException, seconds: float) -> None:
        """Notify of a failure; of a cancelled request, the error is an `asyncio.CancelledError`."""
        self._call("on_request_error", request, error, seconds)

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

    def _call(self, hook: str, request: PluginRequest, *facts: object) -> None:
        for plugin in self._plugins:
            plugin.call(hook, request, *facts)
