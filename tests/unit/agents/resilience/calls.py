"""Calls, attempts, trial requests and rules for the tests of circuit breakers."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from agents.resilience.breaker_rules import BreakerRules
from agents.resilience.sliding_window import Call, Window
from schemas.attempts import BreakerCommand, NetworkAttempt, TrialRequest
from schemas.errors import ErrorCode

NOW = 1_000.0
SERVER = ErrorCode.NETWORK_SERVER
NOT_FOUND = ErrorCode.CONTENT_NOT_FOUND
BLOCK = ErrorCode.RATE_LIMIT_IP_BLOCK
CHANGED = ErrorCode.PLATFORM_CHANGED

RULES = BreakerRules(
    window_calls=100,
    window_seconds=60,
    minimum_calls=20,
    failure_ratio=0.5,
    slow_ratio=0.9,
    slow_seconds=20,
    suspicious_videos=3,
    open_seconds=30,
    open_seconds_max=600,
    trials=5,
    trial_seconds=60,
    retry_share=0.2,
    retry_floor=10,
)

ENDPOINT: dict[str, Any] = {"platform": "tiktok", "operation": "extract", "egress": "a"}


def to_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def rules(**changes: Any) -> BreakerRules:
    return msgspec.structs.replace(RULES, **changes)


def call(subject: str = "v", code: ErrorCode | None = None, **changes: Any) -> Call:
    return Call(**{"at": NOW, "subject": subject, "code": code, **changes})


def calls(code: ErrorCode | None, *subjects: object, **changes: Any) -> Window:
    """A window with one call per subject."""
    return tuple(call(str(subject), code, **changes) for subject in subjects)


def attempt(
    subject: object = "v", code: ErrorCode | None = None, at: float = NOW, **changes: Any
) -> NetworkAttempt:
    defaults: dict[str, Any] = {"request_id": "r1", "seconds": 1.0, **ENDPOINT}
    return NetworkAttempt(
        **{**defaults, "subject": str(subject), "code": code, "at": to_datetime(at), **changes}
    )


def trial_request(trial: str = "t1", at: float = NOW, *, withdrawn: bool = False) -> TrialRequest:
    return TrialRequest(trial=trial, at=to_datetime(at), withdrawn=withdrawn, **ENDPOINT)


def breaker_command(action: Any, by: str = "ann", at: float = NOW) -> BreakerCommand:
    return BreakerCommand(action=action, by=by, at=to_datetime(at), **ENDPOINT)
