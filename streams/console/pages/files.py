"""Serves the stored files of requests from a local directory, or redirects to the storage.

A path comes from a record, so the file has to be a regular one below the storage directory.
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from aiohttp import web

from schemas.subtitles import SUBTITLE_TYPES
from streams.console.errors import CallError
from streams.console.file_links import find_link
from streams.console.services import Services
from streams.history.changes import HistoryFile

DIRECTORY = "files"
"""Directory of finished files in `data_dir`."""

INLINE_TYPES = frozenset(
    {"audio/mp4", "audio/mpeg", "image/jpeg", "image/png", "image/webp", "video/mp4", "video/webm"}
)
"""Types that a browser may show; it runs nothing in them."""

ATTACHMENT_TYPES = INLINE_TYPES.union(SUBTITLE_TYPES.values())
"""Types that an attachment keeps; no browser runs subtitles."""

OTHER_TYPE = "application/octet-stream"


class FilePages:
    """The handler of files."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._settings = services.settings
        self._root = services.settings.data_dir.absolute() / DIRECTORY

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/file", self.send)

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Send a file of a request, or a range of it; as an attachment, unless ``inline``."""
        request_id, number = request.query.get("id", ""), request.query.get("n", "0")
        row = await asyncio.to_thread(self._store.request, request_id)
        files = () if row is None else row.files
        if number not in map(str, range(len(files))):
            raise CallError(404, "n", f"The history has no such file of {request_id[:200]!r}.")
        file = files[int(number)]
        path = await asyncio.to_thread(find_file, self._root, file.uri)
        if path is None and (link := await find_link(self._settings, file.uri)):
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


def _headers(file: HistoryFile, name: str, *, inline: bool) -> dict[str, str]:
    disposition = "inline" if inline else "attachment"
    return {
        "Content-Type": file.mime_type if file.mime_type in ATTACHMENT_TYPES else OTHER_TYPE,
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(name, safe='')}",
        "Cache-Control": "private, max-age=3600",
    }
