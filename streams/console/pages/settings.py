"""The page of the settings: value, source and meaning of each, as the console has started with."""

from aiohttp import web

from streams.console.pages.rendering import Renderer
from streams.console.queries import given_texts
from streams.console.services import Services
from streams.settings.effective import EffectiveSetting, effective_settings

TOP_LEVEL = "Top level"

ONLY_SET = "set"
"""Parameter, of any value, without which settings with their default are shown too."""


class SettingsPages:
    """The handler of this page."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        # At the start: the file may have changed since, its values in use have not.
        self._settings = effective_settings(services.settings)
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/settings", self.show)

    async def show(self, request: web.Request) -> web.Response:
        only_set = ONLY_SET in given_texts(request.query, (ONLY_SET,))
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
