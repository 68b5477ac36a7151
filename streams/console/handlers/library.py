"""The library: requests with stored files, to play and to download."""

import asyncio
from collections.abc import Mapping

import msgspec
from aiohttp import web

from streams.console.handlers.requests import PAGE_PARAMETERS, ROW, HistoryRequest
from streams.console.http_messages import json_response
from streams.console.queries import Page, parse_moment, parse_page
from streams.console.rendering import render
from streams.console.routes import Parameter, RouteOperation, Routes
from streams.console.services import SERVICES
from streams.history.library import LibraryFilter, LibraryTotals, find_files, sum_files
from streams.history.rows import RequestRow, row_to_json

ROUTES = Routes()

LIBRARY_FILTERS = ("author", "platform", "title", "since", "until")


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


@ROUTES.get("/library")
async def library_page(request: web.Request) -> web.StreamResponse:
    query, rows, totals = await _find(request)
    return render(
        request,
        "library.html",
        rows=rows,
        totals=totals,
        filters=LIBRARY_FILTERS,
        texts=query.texts,
        following=query.next_page(rows),
    )


@ROUTES.operation(
    RouteOperation(
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
    )
)
async def list_library(request: web.Request) -> web.StreamResponse:
    query, rows, totals = await _find(request)
    following = query.next_page(rows)
    return json_response(
        {
            "requests": list(map(row_to_json, rows)),
            "next": None if following is None else f"library?{following}",
            "totals": msgspec.to_builtins(totals),
        }
    )


async def _find(
    request: web.Request,
) -> tuple[Page[LibraryFilter], list[RequestRow], LibraryTotals]:
    query = parse_page(request.query, LIBRARY_FILTERS, _parse_filter)
    store = request.app[SERVICES].store
    rows = await asyncio.to_thread(find_files, store, query.wanted, query.limit, query.after)
    return query, rows, await asyncio.to_thread(sum_files, store, query.wanted)


def _parse_filter(texts: Mapping[str, str]) -> LibraryFilter:
    return LibraryFilter(
        author=texts.get("author"),
        platform=texts.get("platform"),
        title=texts.get("title"),
        since=parse_moment("since", texts.get("since")),
        until=parse_moment("until", texts.get("until")),
    )
