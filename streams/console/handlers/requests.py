"""The history of requests: the list, the search box of every page, and the counts by state."""

import asyncio
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from schemas.errors import ErrorCode
from streams.console.errors import CallError
from streams.console.event_text import format_id
from streams.console.http_messages import json_response
from streams.console.jobs.planning import find_matches
from streams.console.queries import (
    FILTERS,
    LIMIT,
    LIMIT_MAX,
    VALUE_CHARACTERS_MAX,
    parse_filter,
    parse_page,
)
from streams.console.rendering import redirect, render
from streams.console.routes import TEXT, Parameter, RouteOperation, Routes
from streams.console.services import SERVICES
from streams.history.changes import HistoryFile, RejectedCommand
from streams.history.rows import REQUEST_STATES, RequestFilter, RequestRow, row_to_json
from streams.history.store import HistoryStore

ROUTES = Routes()

_CODES = frozenset(ErrorCode)


class HistoryRequest(RequestRow, frozen=True, kw_only=True):
    """A request of the history; fields that no record has named are null."""

    due: datetime | None  # type: ignore[assignment]  # written as RFC 3339
    received_at: datetime  # type: ignore[assignment]
    updated_at: datetime  # type: ignore[assignment]
    files: tuple[HistoryFile, ...]
    command: RejectedCommand | None


class RequestList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of requests, newest first.

    Attributes:
        next: the next page, relative to `/api/v1/`; null behind the last one.
    """

    requests: tuple[HistoryRequest, ...]
    next: str | None


class StateCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The number of requests by state."""

    states: dict[str, int]


_SENTENCES = {
    "state": ("State, or status of the result.", "failed"),
    "error": ("Error code of the latest failure.", "content.not_found"),
    "platform": ("Name of the platform; a request whose link is not resolved has none.", "tiktok"),
    "video": ("`PLATFORM:ID` of the post.", "tiktok:7608826249200356630"),
    "url": (
        "The URL as the client sent it.",
        "https://www.tiktok.com/@a/video/7608826249200356630",
    ),
    "batch": ("Id of the batch.", "archive-2026-11-02"),
    "retry_of": ("Id of the request that a retry or replay repeats.", "order-1"),
    "since": ("Received at this time or later: RFC 3339, or a time span such as `2h`.", "2h"),
}

FILTER_PARAMETERS = tuple(
    Parameter(
        name=name,
        description=sentence,
        schema={"type": "string", "enum": list(REQUEST_STATES)} if name == "state" else TEXT,
        example=example,
    )
    for name, (sentence, example) in _SENTENCES.items()
)

PAGE_PARAMETERS = (
    Parameter(
        name="limit",
        description=f"Largest number of entries in the page; default: {LIMIT}.",
        schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
        example=LIMIT,
    ),
    Parameter(name="after", description="Where the page begins: taken from `next` of a page."),
)

ROW: dict[str, Any] = {
    "id": "order-4",
    "batch": None,
    "state": "failed",
    "is_final": True,
    "step": "extraction",
    "action": "download",
    "url": "https://www.tiktok.com/@a/video/7608826249200356630",
    "platform": "tiktok",
    "video": "tiktok:7608826249200356630",
    "author": None,
    "title": None,
    "error": "content.not_found",
    "message": "The video does not exist, or not any more: TikTok video 7608826249200356630: …",
    "trace_id": "8df0d17064d2d33c625f610d07a604b4",
    "retry_of": None,
    "due": None,
    "attempts": 1,
    "received_at": "2026-11-02T09:00:00.000Z",
    "updated_at": "2026-11-02T09:00:01.250Z",
    "files": [],
    "command": None,
}


@ROUTES.get("/")
async def requests_page(request: web.Request) -> web.StreamResponse:
    texts = dict(request.query)
    submitted = texts.pop("submitted", "")
    query = parse_page(texts, FILTERS, parse_filter)
    store = request.app[SERVICES].store
    matches = await asyncio.to_thread(find_matches, store, query.wanted)
    revision = await asyncio.to_thread(store.revision)  # before the rows: none is missed
    rows = await asyncio.to_thread(store.requests, query.wanted, query.limit, query.after)
    counts = await asyncio.to_thread(store.counts, RequestFilter())
    return render(
        request,
        "requests.html",
        matches=matches,
        rows=rows,
        revision=format_id(revision),
        limit=query.limit,
        counts=sorted(counts.items(), key=lambda each: -each[1]),
        filters=FILTERS,
        state_names=REQUEST_STATES,
        texts=query.texts,
        following=query.next_page(rows),
        submitted=submitted if submitted.isdecimal() else "",
    )


@ROUTES.get("/search")
async def search(request: web.Request) -> web.StreamResponse:
    """Redirect to a request by its id, else to the list of matching requests."""
    store = request.app[SERVICES].store
    text = request.query.get("text", "").strip()
    if not text:
        return redirect("./")
    if len(text) > VALUE_CHARACTERS_MAX:
        raise CallError(400, "text", f"longer than {VALUE_CHARACTERS_MAX} characters")
    if await asyncio.to_thread(store.request, text) is not None:
        return redirect("request", id=text)
    criterion = await asyncio.to_thread(_find_criterion, store, text)
    if criterion is None:
        raise CallError(
            404,
            "text",
            f"{text[:200]!r} is no id, URL, post (PLATFORM:ID), batch, error code or state "
            "of a request in the history",
        )
    return redirect("./", **{criterion: text})


def _find_criterion(store: HistoryStore, text: str) -> str | None:
    """Return the criterion of the list that a searched text is a value of, None for none.

    Of a text that may be several things the first one counts: error code, URL, state, post, batch.
    """
    if text in _CODES:
        return "error"
    if text.startswith(("https://", "http://")):
        return "url"
    if text in store.counts(RequestFilter()):
        return "state"
    if store.requests(RequestFilter(video=text), 1):
        return "video"
    return "batch" if store.requests(RequestFilter(batch=text), 1) else None


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/requests",
        name="listRequests",
        summary="Return a page of requests, newest first.",
        parameters=(*FILTER_PARAMETERS, *PAGE_PARAMETERS),
        response=RequestList,
        example={
            "requests": [ROW],
            "next": "requests?state=failed&limit=1&after=WzE3OTU5",
        },
    )
)
async def list_requests(request: web.Request) -> web.StreamResponse:
    query = parse_page(request.query, FILTERS, parse_filter)
    store = request.app[SERVICES].store
    await asyncio.to_thread(store.check_error, query.wanted.error)
    rows = await asyncio.to_thread(store.requests, query.wanted, query.limit, query.after)
    following = query.next_page(rows)
    return json_response(
        {
            "requests": list(map(row_to_json, rows)),
            "next": None if following is None else f"requests?{following}",
        }
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/counts",
        name="countRequests",
        summary="Return the number of matching requests by state.",
        parameters=FILTER_PARAMETERS,
        response=StateCounts,
        example={"states": {"completed": 120, "failed": 3}},
    )
)
async def count_requests(request: web.Request) -> web.StreamResponse:
    wanted = parse_page(request.query, FILTERS, parse_filter).wanted
    store = request.app[SERVICES].store
    await asyncio.to_thread(store.check_error, wanted.error)
    counts = await asyncio.to_thread(store.counts, wanted)
    return json_response({"states": counts})
