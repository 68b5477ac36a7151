"""What a user has taken back is not begun, and stopped where it is under way."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.job import Job
from schemas.signals import CANCEL
from streams.cluster.shared_state import SharedState


class RequestCancelledError(Exception):
    """The user has taken the request back."""


def cancel_keys(job: Job) -> tuple[str, ...]:
    """Return the keys of the signals that cancel a job: its own, and its batch's."""
    own = f"{CANCEL}{job.request_id}"
    return (own, f"{CANCEL}{job.batch.id}") if job.batch else (own,)


def is_cancelled(job: Job, signals: SharedState) -> bool:
    """Return whether the user has taken the job back."""
    return any(signals.get(key) is not None for key in cancel_keys(job))


@contextmanager
def cancellable(job: Job, signals: SharedState) -> Iterator[None]:
    """Cancel the block, as `asyncio.timeout` does, when the user takes the job back.

    Raises:
        RequestCancelledError: that happened, before or during the block.
    """
    task = asyncio.current_task()
    assert task is not None
    taken_back = False

    def stop() -> None:
        nonlocal taken_back
        if not taken_back:
            taken_back = True
            task.cancel()

    if is_cancelled(job, signals):
        raise RequestCancelledError
    with signals.watch(*cancel_keys(job), callback=stop):
        try:
            yield
        except asyncio.CancelledError:
            if taken_back and task.uncancel() == 0:
                raise RequestCancelledError from None
            raise
    if taken_back:
        # The block hid its cancellation.
        task.uncancel()
        raise RequestCancelledError
