"""Stage that decides about failures: back off, park, change, dead letter or fail.

Front door of error handlers.
"""

from agents.recovery.decisions import (
    Backoff,
    Change,
    DeadLetter,
    Decision,
    Fail,
    JobPatch,
    Park,
    Restart,
)

__all__ = [
    "Backoff",
    "Change",
    "DeadLetter",
    "Decision",
    "Fail",
    "JobPatch",
    "Park",
    "Restart",
]
