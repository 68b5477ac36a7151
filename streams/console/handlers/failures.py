"""Failures by error code and platform, and what each error code means."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from aiohttp import web

from schemas.error_catalog import MESSAGES, REQUEST
from streams.console.http_messages import json_response
from streams.console.rendering import render
from streams.console.routes import RouteOperation, Routes
from streams.console.services import SERVICES
from streams.history.statistics import FailureGroup, count_retryable, read_failures

ROUTES = Routes()


class FailureView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows of a group.

    Attributes:
        filter_texts: filter of the list of requests; without a platform it matches all of them.
        retryable: number of failures that the filter matches, and that can be retried.
        bars: heights of the trend, 0 to `BAR_HEIGHT`, oldest hour first.
    """

    group: FailureGroup
    filter_texts: dict[str, str]
    retryable: int
    bars: tuple[float, ...]


BAR_HEIGHT = 16
"""Height of the drawing in the units of its view box."""


class FailureList(msgspec.Struct, frozen=True, kw_only=True):
    """Failures by error code and platform, the most frequent first."""

    failures: tuple[FailureGroup, ...]


@ROUTES.get("/failures")
async def failures_page(request: web.Request) -> web.StreamResponse:
    groups = await asyncio.to_thread(read_failures, request.app[SERVICES].store, time.time())
    return render(
        request,
        "failures.html",
        failures=[_view(each, groups) for each in groups],
        total=sum(each.count for each in groups),
        bar_height=BAR_HEIGHT,
    )


def _view(group: FailureGroup, groups: Sequence[FailureGroup]) -> FailureView:
    texts = {"error": group.error, "platform": group.platform}
    highest = max(group.hours)
    return FailureView(
        group=group,
        filter_texts={name: text for name, text in texts.items() if text},
        retryable=count_retryable(group, groups),
        bars=tuple(round(BAR_HEIGHT * each / max(highest, 1), 1) for each in group.hours),
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/failures",
        name="listFailures",
        summary="Return failures by error code and platform, with their trend of 24 hours.",
        response=FailureList,
        example={
            "failures": [
                {
                    "error": "content.private",
                    "platform": "tiktok",
                    "count": 34,
                    "retryable": 34,
                    "first_at": "2026-11-01T10:00:00Z",
                    "last_at": "2026-11-02T08:59:00Z",
                    "hours": [0] * 22 + [3, 31],
                    "share": 1.0,
                }
            ]
        },
    )
)
async def list_failures(request: web.Request) -> web.StreamResponse:
    groups = await asyncio.to_thread(read_failures, request.app[SERVICES].store, time.time())
    return json_response(msgspec.to_builtins(FailureList(failures=tuple(groups))))


@ROUTES.get("/codes")
async def codes_page(request: web.Request) -> web.StreamResponse:
    return render(request, "codes.html", messages=MESSAGES, placeholder=REQUEST)
