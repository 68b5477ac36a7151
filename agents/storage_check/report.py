"""Report of a storage check."""

from enum import StrEnum

import msgspec


class CheckState(StrEnum):
    """Outcome of a check; a warning does not prevent the operation."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class CheckResult(msgspec.Struct, frozen=True):
    """Outcome of one check.

    Attributes:
        name: of the check.
        state: its outcome.
        text: what was found, and a remedy.
    """

    name: str
    state: CheckState
    text: str = ""


class StorageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Report of a check, as printed by ``--json``.

    Attributes:
        storage: URL or directory.
        healthy: no check failed.
        checks: in the order in which they were made; after a failure the rest is not made.
    """

    storage: str
    healthy: bool
    checks: tuple[CheckResult, ...]
