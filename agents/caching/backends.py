"""Which cache backends there are, found by the entry-point group ``clipmill.caches``."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from agents.caching.interface import OpenBackend
from schemas.errors import ClipmillError, ErrorCode

GROUP = "clipmill.caches"
"""Entry points of this group name functions that are an `OpenBackend`."""

IN_PROCESS = "memory"
"""Name of no backend: nothing is shared, all that is remembered is in the process and its table."""


def find_backend(name: str, points: Iterable[EntryPoint] | None = None) -> OpenBackend | None:
    """Return what opens the backend of this name, None for ``memory``.

    Raises:
        ClipmillError: ``system.config``; it is not installed, or cannot be loaded.
    """
    if name == IN_PROCESS:
        return None
    offered = {point.name: point for point in points or entry_points(group=GROUP)}
    if name not in offered:
        names = ", ".join(sorted({IN_PROCESS, *offered}))
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG, f"cache.backend {name!r} is not installed; there are: {names}."
        )
    return _load(offered[name])


def _load(point: EntryPoint) -> OpenBackend:
    try:
        opener: OpenBackend = point.load()
    except Exception as error:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"cache.backend {point.name!r} ({point.value}) cannot be loaded:"
            f" {type(error).__name__}: {error}. Install what it needs"
            f" (for redis: pip install 'clipmill[redis]'), or set cache.backend to memory.",
        ) from error
    return opener
