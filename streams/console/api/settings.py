"""The settings that this console has started with."""

from collections.abc import Sequence

from aiohttp import web

from streams.console.api.responses import ROOT, json_response
from streams.console.setting_queries import is_only_set
from streams.settings.effective import EffectiveSetting


class SettingsApi:
    """The handler of settings.

    Args:
        settings: all of them, with masked secrets.
    """

    def __init__(self, settings: Sequence[EffectiveSetting]) -> None:
        self._settings = settings

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/settings", self.list_settings)

    async def list_settings(self, request: web.Request) -> web.Response:
        only_set = is_only_set(request.query)
        found = [_to_json(each) for each in self._settings if each.is_set or not only_set]
        return json_response({"settings": found})


def _to_json(setting: EffectiveSetting) -> dict[str, object]:
    return {
        "name": setting.name,
        "value": setting.value,
        "is_set": setting.is_set,
        "source": setting.source,
        "description": setting.description,
    }
