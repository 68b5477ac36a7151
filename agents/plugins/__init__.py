"""Third-party plug-ins: hooks around every network request, isolated from its outcome."""

from agents.plugins.hooks import HOOKS, Plugin, Trouble
from agents.plugins.installed import GROUP, Plugins
from agents.plugins.request import Outcome, PluginRequest, describe, outcome_of

__all__ = [
    "GROUP",
    "HOOKS",
    "Outcome",
    "Plugin",
    "PluginRequest",
    "Plugins",
    "Trouble",
    "describe",
    "outcome_of",
]
