"""Which requests a job applies to, and the commands that it publishes for them."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from schemas.commands import Cancel, Retry
from streams.client import BATCH_FINISHED
from streams.console.advice import NOT_RETRIED, REJECTED
from streams.console.jobs.job import BulkJob, JobCommand
from streams.history.changes import STATES
from streams.history.rows import RequestRow

UNDECIDED = frozenset(STATES.values())

DIGEST_CHARACTERS = 24
"""96 bits: no collision among the requests of any job."""


def count_eligible(command: JobCommand, counts: Mapping[str, int], open_batches: int) -> int:
    """Return how many requests a command applies to.

    Args:
        command: the command.
        counts: number of requests by state.
        open_batches: undecided batches among them.
    """
    if command == "cancel":
        return sum(counts.get(state, 0) for state in UNDECIDED) - open_batches
    return sum(
        number
        for state, number in counts.items()
        if state not in UNDECIDED and state not in NOT_RETRIED
    )


def skip_reason(job: BulkJob, row: RequestRow) -> str | None:
    """Return why a job skips a request, None if its command applies.

    Members of a batch match on their own; a command for the batch would apply to all of them.
    """
    if row.id.startswith(_prefix(job)):
        return "own"
    if job.command == "cancel":
        if row.is_final:
            return "decided"
        return "batch" if row.is_open_batch else None
    if not row.is_final:
        return "undecided"
    if row.state == REJECTED:
        return "rejected"
    return "batch" if row.state == BATCH_FINISHED else None


def select(job: BulkJob, rows: Sequence[RequestRow]) -> tuple[list[Cancel | Retry], dict[str, int]]:
    """Return the commands for these requests, and the number of the others by reason.

    The same job and requests make the same commands, so a chunk may be published again: the ledger
    drops the second request of an id.
    """
    commands: list[Cancel | Retry] = []
    skipped: Counter[str] = Counter()
    for row in rows:
        reason = skip_reason(job, row)
        if reason is None:
            commands.append(_command(job, row.id))
        else:
            skipped[reason] += 1
    return commands, dict(skipped)


def _prefix(job: BulkJob) -> str:
    """Return the prefix of the ids of the requests that a job creates."""
    return f"{job.id}-"


def _command(job: BulkJob, request_id: str) -> Cancel | Retry:
    digest = hashlib.sha256(request_id.encode()).hexdigest()[:DIGEST_CHARACTERS]
    name = _prefix(job) + digest
    if job.command == "cancel":
        return Cancel(id=name, request_id=request_id, by=job.by)
    return Retry(id=name, new_id=name, request_id=request_id, options=job.options, by=job.by)
