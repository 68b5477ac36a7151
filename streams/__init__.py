"""Infrastructure: Kafka, Faust, settings, metrics, command line. No video logic.

Front door of stages.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.claims import Claim, claim_of
    from streams.cluster.shared_state import SharedState
    from streams.envelope import Envelope, open_envelope, seal
    from streams.records import Effect, Flush, Incoming, Outgoing, TableWrite, tombstones
    from streams.runtime.processor import dead_letter
    from streams.settings import Settings
    from streams.stage import (
        Handler,
        IndexedTable,
        Slices,
        SlicingHandler,
        Stage,
        StageContext,
        StageMessage,
        SyncFirstHandler,
        Table,
        synchronous,
    )
    from streams.state_stores import RowFields
    from streams.topics import (
        ATTEMPTS,
        AUDIT,
        ERRORS,
        EXTRACTED,
        PROGRESS,
        REQUESTS,
        RESULTS,
        SELECTED,
        VALIDATED,
        Topic,
    )

__all__ = [
    "ATTEMPTS",
    "AUDIT",
    "ERRORS",
    "EXTRACTED",
    "PROGRESS",
    "REQUESTS",
    "RESULTS",
    "SELECTED",
    "VALIDATED",
    "Claim",
    "Effect",
    "Envelope",
    "Flush",
    "Handler",
    "Incoming",
    "IndexedTable",
    "Outgoing",
    "RowFields",
    "Settings",
    "SharedState",
    "Slices",
    "SlicingHandler",
    "Stage",
    "StageContext",
    "StageMessage",
    "SyncFirstHandler",
    "Table",
    "TableWrite",
    "Topic",
    "claim_of",
    "dead_letter",
    "open_envelope",
    "seal",
    "synchronous",
    "tombstones",
]

_MODULES = {
    "streams.claims": ("Claim", "claim_of"),
    "streams.cluster.shared_state": ("SharedState",),
    "streams.envelope": ("Envelope", "open_envelope", "seal"),
    "streams.records": ("Effect", "Flush", "Incoming", "Outgoing", "TableWrite", "tombstones"),
    "streams.runtime.processor": ("dead_letter",),
    "streams.settings": ("Settings",),
    "streams.stage": (
        "SyncFirstHandler",
        "Handler",
        "IndexedTable",
        "Slices",
        "SlicingHandler",
        "Stage",
        "StageContext",
        "StageMessage",
        "Table",
        "synchronous",
    ),
    "streams.state_stores": ("RowFields",),
    "streams.topics": (
        "ATTEMPTS",
        "AUDIT",
        "ERRORS",
        "EXTRACTED",
        "PROGRESS",
        "REQUESTS",
        "RESULTS",
        "SELECTED",
        "VALIDATED",
        "Topic",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name at its first use: every command of the CLI imports this package."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
