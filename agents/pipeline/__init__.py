"""Shared by all stages: decode an event, run the step, turn its outcome into records.

Front door of stages that are steps of the pipeline.
"""

from agents.pipeline.events import Event, audit, propose_result, send_event, subject_of
from agents.pipeline.results import (
    RequestCancelledError,
    cancellable,
    cancelled,
    completed,
    error_result,
    expired,
    is_cancelled,
    is_expired,
)
from agents.pipeline.step import (
    STEP_TOPICS,
    Complete,
    Forward,
    StepOutcome,
    bug_handler,
    step_handler,
)

__all__ = [
    "STEP_TOPICS",
    "Complete",
    "Event",
    "Forward",
    "RequestCancelledError",
    "StepOutcome",
    "audit",
    "bug_handler",
    "cancellable",
    "cancelled",
    "completed",
    "error_result",
    "expired",
    "is_cancelled",
    "is_expired",
    "propose_result",
    "send_event",
    "step_handler",
    "subject_of",
]
