"""The plug-ins of this process: loaded once, for all stages, and their troubles counted."""

from functools import cache

from agents.plugins import Plugins, Trouble
from streams.metrics import PLUGIN_TROUBLES


@cache
def installed_plugins() -> Plugins:
    """Return the installed plug-ins; the same objects every time, so that they see all stages."""
    return Plugins.load(count=_count)


def _count(plugin: str, trouble: Trouble) -> None:
    PLUGIN_TROUBLES.labels(plugin, trouble).inc()
