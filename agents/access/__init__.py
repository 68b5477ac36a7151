"""Outbound access control: egress, circuit breaker, rate limiter, bulkhead, accounts.

Front door of stages that make requests of a platform.
"""

from agents.access.egress import egress_names, open_egresses, open_fetchers
from agents.access.gate import OutboundGate, installed_plugins
from agents.access.storage import open_storage, public_url

__all__ = [
    "OutboundGate",
    "egress_names",
    "installed_plugins",
    "open_egresses",
    "open_fetchers",
    "open_storage",
    "public_url",
]
