"""Operations on the library, and the types of their JSON."""

import msgspec

from streams.console.api.operations import Operation, Parameter
from streams.console.api.request_operations import PAGE_PARAMETERS, ROW
from streams.console.api.shapes import HistoryRequest
from streams.history.library import LibraryTotals


class LibraryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of requests with files, newest first.

    Attributes:
        next: the next page, relative to `/api/v1/`; null behind the last one.
        totals: sums over all that match.
    """

    requests: tuple[HistoryRequest, ...]
    next: str | None
    totals: LibraryTotals


_PARAMETERS = (
    Parameter(name="author", description="Name of the post's author.", example="someone"),
    Parameter(name="platform", description="Name of the platform.", example="tiktok"),
    Parameter(name="title", description="Part of the title; letters of ASCII match in both cases."),
    Parameter(name="since", description="Received at this time or later.", example="2h"),
    Parameter(name="until", description="Received before this time: RFC 3339, or a time span."),
)

_FILE = {
    "uri": "file:///data/files/tiktok/7608826249200356630/7608826249200356630.mp4",
    "bytes": 2_000_457,
    "mime_type": "video/mp4",
}

OPERATIONS = (
    Operation(
        method="get",
        path="/library",
        name="listLibrary",
        summary="Return requests with stored files, newest first, and the size of all that match.",
        parameters=(*_PARAMETERS, *PAGE_PARAMETERS),
        response=LibraryPage,
        example={
            "requests": [
                {
                    **ROW,
                    "state": "completed",
                    "step": None,
                    "author": "someone",
                    "title": "a clip",
                    "error": None,
                    "message": None,
                    "files": [_FILE],
                }
            ],
            "next": None,
            "totals": {"requests": 1, "bytes": 2_000_457},
        },
    ),
)
