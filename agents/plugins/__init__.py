"""Plug-ins of others that watch what is asked for over the network, and are never in its way."""

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
