"""Stage that decides about failures: retry, park, change, dead letter or fail.

Front door of error handlers.
"""

from agents.recovery.decisions import (
    Change,
    DeadLetter,
    Decision,
    Fail,
    JobPatch,
    Park,
    Restart,
    Retry,
)

__all__ = [
    "Change",
    "DeadLetter",
    "Decision",
    "Fail",
    "JobPatch",
    "Park",
    "Restart",
    "Retry",
]
