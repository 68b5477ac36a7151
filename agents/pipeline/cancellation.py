"""Cancellation: steps of a cancelled request are not started; one in progress is interrupted.

Best effort, by shared state. The ledger alone decides whether a request ends as cancelled.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.job import Job
from streams.claims import cancel_keys
from streams.cluster.shared_state import SharedState


class RequestCancelledError(Exception):
    """The request was cancelled by a command."""


def is_cancelled(job: Job, shared_state: SharedState) -> bool:
    return any(shared_state.get(key) is not None for key in cancel_keys(job.request_id))


@contextmanager
def cancellable(job: Job, shared_state: SharedState) -> Iterator[None]:
    """Cancel the block, as `asyncio.timeout` does, when a cancel signal of the job arrives.

    Raises:
        RequestCancelledError: the signal arrived before or during the block.
    """
    task = asyncio.current_task()
    assert task is not None
    is_triggered = False

    def stop() -> None:
        nonlocal is_triggered
        if not is_triggered:
            is_triggered = True
            task.cancel()

    if is_cancelled(job, shared_state):
        raise RequestCancelledError
    with shared_state.watch(*cancel_keys(job.request_id), callback=stop):
        try:
            yield
        except asyncio.CancelledError:
            if is_triggered and task.uncancel() == 0:
                raise RequestCancelledError from None
            raise
    if is_triggered:
        # The block swallowed the CancelledError.
        task.uncancel()
        raise RequestCancelledError
