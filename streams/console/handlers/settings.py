"""The settings that this console has started with: value, source and meaning of each."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from streams.console.http_messages import json_response
from streams.console.queries import given_texts
from streams.console.rendering import render
from streams.console.routes import Parameter, RouteOperation, Routes
from streams.settings.effective import EffectiveSetting

ROUTES = Routes()

SETTINGS = web.AppKey[Sequence[EffectiveSetting]]("settings")
"""All settings, as they were at the start: the file may have changed since."""

ONLY_SET = "set"
"""Parameter, of any value, without which settings with their default are shown too."""

TOP_LEVEL = "Top level"


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as it is in use.

    Attributes:
        name: its path, such as `kafka.bootstrap`.
        value: in the notation of TOML; secrets and logins in URLs are `********`.
        is_set: an operator has set it.
        source: `default`, `command line`, or which variable or file has it.
        description: its meaning.
    """

    name: str
    value: str
    is_set: bool
    source: str
    description: str


class SettingList(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that this console has started with; workers have their own."""

    settings: tuple[SettingView, ...]


@ROUTES.get("/settings")
async def settings_page(request: web.Request) -> web.StreamResponse:
    groups: dict[str, list[EffectiveSetting]] = {}
    only_set, shown = _shown(request)
    for each in shown:
        groups.setdefault(each.group or TOP_LEVEL, []).append(each)
    return render(
        request,
        "settings.html",
        groups=groups,
        only_set=only_set,
        count=sum(each.is_set for each in request.app[SETTINGS]),
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/settings",
        name="listSettings",
        summary="Return the settings that this console has started with; secrets are masked.",
        parameters=(
            Parameter(
                name=ONLY_SET,
                description="Of any value: settings with their default are left out.",
                example="yes",
            ),
        ),
        response=SettingList,
        example={
            "settings": [
                {
                    "name": "kafka.partitions",
                    "value": "8",
                    "is_set": True,
                    "source": "environment CLIPMILL_KAFKA__PARTITIONS",
                    "description": "Number of partitions of new topics.",
                }
            ]
        },
    )
)
async def list_settings(request: web.Request) -> web.StreamResponse:
    _, shown = _shown(request)
    found = SettingList(
        settings=tuple(
            SettingView(
                name=each.name,
                value=each.value,
                is_set=each.is_set,
                source=each.source,
                description=each.description,
            )
            for each in shown
        )
    )
    return json_response(msgspec.to_builtins(found))


def _shown(request: web.Request) -> tuple[bool, list[EffectiveSetting]]:
    """Return whether settings with their default are left out, and the settings of a call.

    Raises:
        QueryError: a parameter is unknown.
    """
    only_set = ONLY_SET in given_texts(request.query, (ONLY_SET,))
    return only_set, [each for each in request.app[SETTINGS] if each.is_set or not only_set]
