"""Operations on requests."""

from typing import Any

from schemas.contract.components import REFERENCE
from schemas.contract.examples import REQUESTS
from schemas.contract.json_schema import REQUEST
from streams.console.api.operations import (
    CHANGE_ERRORS,
    READ_ERRORS,
    Body,
    Operation,
    Parameter,
)
from streams.console.api.shapes import (
    AcceptedCommand,
    AcceptedRequests,
    AcceptedRetry,
    EmptyBody,
    RequestHistory,
    RequestList,
    RetryBody,
    StateCounts,
)
from streams.console.queries import LIMIT, LIMIT_MAX

_SENTENCES = {
    "state": ("State or status, such as `parked` or `failed`.", "failed"),
    "error": ("Error code of the latest failure.", "content.not_found"),
    "platform": ("Name of the platform; a request whose link is not resolved has none.", "tiktok"),
    "video": ("`PLATFORM:ID` of the post.", "tiktok:7608826249200356630"),
    "url": (
        "The URL as the client sent it.",
        "https://www.tiktok.com/@a/video/7608826249200356630",
    ),
    "batch": ("Id of the batch.", "archive-2026-11-02"),
    "since": ("Received at this time or later: RFC 3339, or a time span such as `2h`.", "2h"),
}

FILTER_PARAMETERS = tuple(
    Parameter(name=name, description=sentence, example=example)
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

ID = Parameter(
    name="id",
    description="Id of the request; that of a batch member is `BATCH/INDEX`.",
    schema={"type": "string", "minLength": 1},
    example="order-4",
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
    "due": None,
    "attempts": 1,
    "received_at": "2026-11-02T09:00:00.000Z",
    "updated_at": "2026-11-02T09:00:01.250Z",
    "files": [],
}

_EVENT = {
    "at": "2026-11-02T09:00:01.250Z",
    "step": "extraction",
    "transition": "finished",
    "detail": {},
}

_ONE = {"$ref": f"{REFERENCE}{REQUEST.schema_name}"}

_LINES = {
    "type": "string",
    "description": "A URL or a request as JSON on each line; lines that begin with # are ignored.",
}

OPERATIONS = (
    Operation(
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
    ),
    Operation(
        method="post",
        path="/requests",
        name="submitRequests",
        summary="Publish one request or many; all of the body or nothing. Publishing again with "
        "the same ids is idempotent.",
        body=Body(
            content={
                "application/json": {"anyOf": [_ONE, {"type": "array", "items": _ONE}]},
                "application/x-ndjson": _LINES,
                "text/plain": _LINES,
            },
            example=REQUESTS[0],
        ),
        status=202,
        response=AcceptedRequests,
        example={
            "requests": [{"id": "4be1", "url": REQUESTS[0]["url"], "href": "requests/4be1"}],
        },
        errors=CHANGE_ERRORS,
    ),
    Operation(
        method="get",
        path="/requests/{id}",
        name="showRequest",
        summary="Return a request with its transitions.",
        parameters=(ID,),
        response=RequestHistory,
        example={**ROW, "events": [_EVENT]},
        errors=(*READ_ERRORS, 404),
    ),
    Operation(
        method="post",
        path="/requests/{id}/cancel",
        name="cancelRequest",
        summary="Publish the command that cancels a request, or a batch with all its members.",
        parameters=(ID,),
        body=Body(content={"application/json": EmptyBody}, example={}, required=False),
        status=202,
        response=AcceptedCommand,
        example={"command": "7f3a", "request_id": "order-4"},
        errors=(*CHANGE_ERRORS, 404),
    ),
    Operation(
        method="post",
        path="/requests/{id}/retry",
        name="retryRequest",
        summary="Publish the command that makes a new request of a decided one.",
        parameters=(ID,),
        body=Body(
            content={"application/json": RetryBody},
            example={"options": {"quality": "480p"}},
            required=False,
        ),
        status=202,
        response=AcceptedRetry,
        example={"id": "9c21", "href": "requests/9c21"},
        errors=(*CHANGE_ERRORS, 404),
    ),
    Operation(
        method="get",
        path="/counts",
        name="countRequests",
        summary="Return the number of matching requests by state.",
        parameters=FILTER_PARAMETERS,
        response=StateCounts,
        example={"states": {"completed": 120, "failed": 3}},
    ),
)
