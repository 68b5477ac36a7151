"""The page of failures by error code and platform."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from aiohttp import web

from streams.console.pages.rendering import Renderer
from streams.console.services import Services
from streams.history.statistics import FailureGroup, read_failures


class FailureView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows of a group.

    Attributes:
        filter_texts: filter of the list of requests; without a platform it matches all of them.
        matching: number of failures that the filter matches.
        bars: heights of the trend, 0 to `BAR_HEIGHT`, oldest hour first.
    """

    group: FailureGroup
    filter_texts: dict[str, str]
    matching: int
    bars: tuple[float, ...]


BAR_HEIGHT = 16
"""Height of the drawing in the units of its view box."""


class FailurePages:
    """The handler of this page."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._store = services.store
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/failures", self.list_failures)

    async def list_failures(self, _request: web.Request) -> web.Response:
        groups = await asyncio.to_thread(read_failures, self._store, time.time())
        return self._renderer.page(
            "failures.html",
            failures=failure_views(groups),
            total=sum(each.count for each in groups),
            bar_height=BAR_HEIGHT,
        )


def failure_views(groups: Sequence[FailureGroup]) -> list[FailureView]:
    return [_view(each, groups) for each in groups]


def _view(group: FailureGroup, groups: Sequence[FailureGroup]) -> FailureView:
    texts = {"error": group.error, "platform": group.platform}
    alike = [group] if group.platform else [each for each in groups if each.error == group.error]
    highest = max(group.hours)
    return FailureView(
        group=group,
        filter_texts={name: text for name, text in texts.items() if text},
        matching=sum(each.count for each in alike),
        bars=tuple(round(BAR_HEIGHT * each / max(highest, 1), 1) for each in group.hours),
    )
