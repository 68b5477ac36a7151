"""Serves the stored files of requests from a local directory, or redirects to the storage.

A path comes from a record, so the file has to be a regular one below the storage directory.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, unquote, urlsplit

from aiohttp import web

from schemas.subtitles import SUBTITLE_TYPES
from streams.console.errors import CallError
from streams.console.routes import Routes
from streams.console.services import SERVICES
from streams.history.changes import HistoryFile
from streams.settings import Settings

ROUTES = Routes()

DIRECTORY = "files"
"""Directory of finished files in `data_dir`."""

INLINE_TYPES = frozenset(
    {"audio/mp4", "audio/mpeg", "image/jpeg", "image/png", "image/webp", "video/mp4", "video/webm"}
)
"""Types that a browser may show; it runs nothing in them."""

ATTACHMENT_TYPES = INLINE_TYPES.union(SUBTITLE_TYPES.values())
"""Types that an attachment keeps; no browser runs subtitles."""

OTHER_TYPE = "application/octet-stream"


GROUP = "clipmill.file_links"
"""Entry-point group of functions `FindLink`, for files that are not on this host."""

FindLink: TypeAlias = Callable[[Settings, str], Awaitable[str | None]]
"""Returns a link to the file of a URI, None for a file that it does not know."""


@ROUTES.get("/file")
async def send_file(request: web.Request) -> web.StreamResponse:
    """Send a file of a request, or a range of it; as an attachment, unless ``inline``."""
    services = request.app[SERVICES]
    request_id, number = request.query.get("id", ""), request.query.get("n", "0")
    row = await asyncio.to_thread(services.store.request, request_id)
    files = () if row is None else row.files
    if number not in map(str, range(len(files))):
        raise CallError(404, "n", f"The history has no such file of {request_id[:200]!r}.")
    file = files[int(number)]
    root = services.settings.data_dir.absolute() / DIRECTORY
    path = await asyncio.to_thread(find_file, root, file.uri)
    if path is None and (link := await find_link(services.settings, file.uri)):
        headers = {"Location": link, "Cache-Control": "no-store"}
        return web.Response(status=HTTPStatus.FOUND, headers=headers)
    if path is None:
        raise CallError(410, "n", f"{file.uri[:500]} is not in the storage of this host.")
    inline = "inline" in request.query and file.mime_type in INLINE_TYPES
    return web.FileResponse(path, headers=_headers(file, path.name, inline=inline))


def find_file(root: Path, uri: str) -> Path | None:
    """Return the path of a regular file below a directory, None for anything else."""
    try:
        parts = urlsplit(uri)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            return None
        path = Path(unquote(parts.path)).resolve(strict=True)
        return path if path.is_file() and path.is_relative_to(root.resolve()) else None
    except (OSError, ValueError):
        return None


async def find_link(settings: Settings, uri: str) -> str | None:
    """Return the first link to a file, None without one."""
    for point in entry_points(group=GROUP):
        find: FindLink = point.load()
        if (link := await find(settings, uri)) is not None:
            return link
    return None


def _headers(file: HistoryFile, name: str, *, inline: bool) -> dict[str, str]:
    disposition = "inline" if inline else "attachment"
    return {
        "Content-Type": file.mime_type if file.mime_type in ATTACHMENT_TYPES else OTHER_TYPE,
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(name, safe='')}",
        "Cache-Control": "private, max-age=3600",
    }
