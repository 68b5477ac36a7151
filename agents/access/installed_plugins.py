"""The plug-ins of this process: loaded once, for all stages, and their troubles counted."""

from functools import cache
from typing import get_args

from agents.plugins import Plugins, Trouble
from streams.observability.metrics import PLUGIN_TROUBLES, start_at_zero


@cache
def installed_plugins() -> Plugins:
    """Return the installed plug-ins; the same objects every time, so that they see all stages."""
    plugins = Plugins.load(count=_count)
    start_at_zero(PLUGIN_TROUBLES, plugins.names, get_args(Trouble))
    return plugins


def _count(plugin: str, trouble: Trouble) -> None:
    PLUGIN_TROUBLES.labels(plugin, trouble).inc()
