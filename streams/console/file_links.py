"""Links to files that are not on this host: entry points in ``clipmill.file_links``."""

from collections.abc import Awaitable, Callable
from importlib.metadata import entry_points
from typing import TypeAlias

from streams.settings import Settings

GROUP = "clipmill.file_links"
"""Entry-point group of functions `FindLink`."""

FindLink: TypeAlias = Callable[[Settings, str], Awaitable[str | None]]
"""Returns a link to the file of a URI, None for a file that it does not know."""


async def find_link(settings: Settings, uri: str) -> str | None:
    """Return the first link to a file, None without one."""
    for point in entry_points(group=GROUP):
        find: FindLink = point.load()
        if (link := await find(settings, uri)) is not None:
            return link
    return None
