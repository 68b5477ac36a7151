"""Publishes states of this worker to the shared state, for the console: its caches, its engine.

A state is published when it has changed, but at most every `CHANGE_SECONDS`, and unchanged every
`WORKER_STATE_SECONDS`, so that a reader recognises a worker that has stopped.
"""

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from schemas.codec import encode
from schemas.signals import WORKER_STATE_SECONDS, CacheState, EngineState
from streams.envelope import seal
from streams.records import Outgoing
from streams.stage import StageContext
from streams.topics import SIGNALS

SWEEP_SECONDS = 5.0
"""Interval of the look whether a state is due; costs nothing until it is."""

CHANGE_SECONDS = 30.0
"""A record of 0.7 KB for each stage with caches: at 100 busy workers every process reads 7 KB/s."""

State = TypeVar("State", CacheState, EngineState)


class WorkerStates:
    """Decides when the state of one key is due.

    Args:
        key: of the shared state.
        kind: CloudEvents type of the records, without the prefix.
        step: the stage that publishes them.
    """

    def __init__(self, key: str, kind: str, step: str) -> None:
        self._key = key
        self._kind = kind
        self._step = step
        self._published: CacheState | EngineState | None = None

    def update(self, read: Callable[[datetime], State], now: datetime) -> list[Outgoing]:
        """Return the record of the state, if it is due; ``read`` is called only if it may be."""
        if self._age(now) < CHANGE_SECONDS:
            return []
        state = read(now)
        if self._age(now) < WORKER_STATE_SECONDS and self._is_unchanged(state):
            return []
        self._published = state
        return [self._record(state)]

    def _age(self, now: datetime) -> float:
        if self._published is None:
            return WORKER_STATE_SECONDS
        # A clock that was set back must not silence the worker.
        return abs((now - self._published.at).total_seconds())

    def _is_unchanged(self, state: State) -> bool:
        published = self._published
        return published is not None and state == msgspec.structs.replace(published, at=state.at)

    def _record(self, state: State) -> Outgoing:
        return seal(
            SIGNALS,
            self._key,
            encode(state),
            kind=self._kind,
            step=self._step,
            event_id=f"{self._key}:{state.at.isoformat()}",
            request_id=self._key,
            trace_id=secrets.token_hex(16),
        )


def publish_periodically(
    context: StageContext, states: WorkerStates, read: Callable[[datetime], State]
) -> None:
    """Schedule the publication of a state."""

    def sweep() -> tuple[Sequence[Outgoing], ...]:
        return (states.update(read, datetime.now(UTC)),)

    context.periodic.append((SWEEP_SECONDS, sweep))
