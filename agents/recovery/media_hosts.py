"""Publishes which videos wait for media hosts that their platforms do not list."""

import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from agents.pipeline.unknown_hosts import unknown_hosts
from agents.recovery.decisions import Backoff, Decision, Park
from schemas.codec import encode
from schemas.failure import Failure
from schemas.signals import MEDIA_HOST, MediaHostWait
from streams.envelope import seal
from streams.media_host_waits import MediaHostWaits
from streams.records import Effect, Outgoing
from streams.topics import SIGNALS

ATTEMPT_SECONDS = 300.0
"""Time after the end of a delay in which the next attempt has failed or succeeded; afterwards the
request is assumed to be over. Longer under a backlog, when a failure starts the wait again."""

SWEEP_SECONDS = 30.0
TOMBSTONES_MAX = 500
"""Tombstones per slice of a sweep."""


class MediaHostRecorder:
    """Turns failures of media at unknown hosts into states, and removes the ended ones.

    A state is written by the worker that has the video's partition of the failures; tombstones by
    any worker.

    Args:
        waits: the states of all workers.
    """

    def __init__(self, waits: MediaHostWaits) -> None:
        self._waits = waits

    def record(
        self, failure: Failure, platform: str, decision: Decision, now: datetime
    ) -> list[Outgoing]:
        """Return the states of a failed video that will be tried again."""
        if not isinstance(decision, Backoff | Park) or not failure.subject:
            return []
        until = decision.due + timedelta(seconds=ATTEMPT_SECONDS)
        states = (
            MediaHostWait(platform=platform, host=host, video=failure.subject, until=until, at=now)
            for host in self._hosts_of(failure)
        )
        return [record for each in states for record in self._publish(each)]

    def _hosts_of(self, failure: Failure) -> tuple[str, ...]:
        """Return the hosts that a video waits for; after a call that was not made, the same."""
        if not failure.permitted:
            return tuple(each.host for each in self._waits.of_video(failure.subject or ""))
        return unknown_hosts(failure.error.error_type, failure.error.technical_details)

    def _publish(self, state: MediaHostWait) -> list[Outgoing]:
        if not self._waits.has_room(state.platform, state.host, state.video):
            return []
        record = wait_record(state)
        # Counted at once: until the record is consumed, a burst would exceed the bounds.
        self._waits.apply(f"{MEDIA_HOST}{state.name}", record.value)
        return [record]

    def sweep(self) -> Iterator[Sequence[Effect]]:
        """Return the tombstones of the ended states, in slices."""
        keys = self._waits.ended()
        for first in range(0, len(keys), TOMBSTONES_MAX):
            part = keys[first : first + TOMBSTONES_MAX]
            yield [Outgoing(SIGNALS, key.encode(), None) for key in part]


def wait_record(state: MediaHostWait) -> Outgoing:
    return seal(
        SIGNALS,
        f"{MEDIA_HOST}{state.name}",
        encode(state),
        kind="host.awaited.v1",
        step="recovery",
        event_id=f"media-host:{state.name}:{state.at.isoformat()}",
        request_id=state.name,
        trace_id=secrets.token_hex(16),
    )
