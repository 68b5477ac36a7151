"""The page of the settings: value, source and meaning of each, as the console has started with."""

from collections.abc import Sequence

from aiohttp import web

from streams.console.pages.rendering import Renderer
from streams.console.setting_queries import is_only_set
from streams.settings.effective import EffectiveSetting

TOP_LEVEL = "Top level"


class SettingsPages:
    """The handler of this page.

    Args:
        settings: all of them.
    """

    def __init__(self, settings: Sequence[EffectiveSetting], renderer: Renderer) -> None:
        self._settings = settings
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/settings", self.show)

    async def show(self, request: web.Request) -> web.Response:
        only_set = is_only_set(request.query)
        groups: dict[str, list[EffectiveSetting]] = {}
        for each in self._settings:
            if each.is_set or not only_set:
                groups.setdefault(each.group or TOP_LEVEL, []).append(each)
        return self._renderer.page(
            "settings.html",
            groups=groups,
            only_set=only_set,
            count=sum(each.is_set for each in self._settings),
        )
