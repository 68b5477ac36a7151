"""Publishes which videos wait for media hosts that their platforms do not list."""

import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from agents.recovery.decisions import Backoff, Decision, Park
from schemas.codec import encode
from schemas.events import Failure
from schemas.signals import MEDIA_HOST, MediaHostWait
from streams.envelope import seal
from streams.media_host_waits import MediaHostWaits, unknown_hosts
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
        """Return the states of a failed video that will be tried again.

        After a call that was not made, the video waits for the same hosts as before.
        """
        video, error = failure.subject, failure.error
        if not isinstance(decision, Backoff | Park) or not video:
            return []
        if failure.permitted:
            hosts = unknown_hosts(error.error_type, error.technical_details)
        else:
            hosts = tuple(each.host for each in self._waits.of_video(video))
        until = decision.due + timedelta(seconds=ATTEMPT_SECONDS)
        records = []
        for host in hosts:
            if self._waits.has_room(platform, host, video):
                state = MediaHostWait(
                    platform=platform, host=host, video=video, until=until, at=now
                )
                records.append(wait_record(state))
                # Counted at once: until the record is consumed, a burst would exceed the bounds.
                self._waits.apply(f"{MEDIA_HOST}{state.name}", records[-1].value)
        return records

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
