"""A job: its order, its progress, and how it looks as JSON."""

from typing import Literal

import msgspec

from schemas.commands import OptionChanges
from streams.history.rows import Cursor, RequestFilter, format_time

JobCommand = Literal["retry", "cancel"]
JobState = Literal["running", "done", "stopped", "failed"]


class ChunkResult(msgspec.Struct, frozen=True):
    """What one chunk has done.

    Attributes:
        skipped: number of skipped requests by reason.
        cursor: the last request of the chunk, None when there is none left.
    """

    published: int
    skipped: dict[str, int]
    cursor: Cursor | None


class BulkJob(msgspec.Struct, frozen=True, kw_only=True):
    """A bulk command. Times are epoch seconds.

    Attributes:
        options: changes that a retry makes.
        by: author of the commands.
        origin: the history that the cursor is of.
        error: why it has failed, or why it waits while it is running.
        total: requests that matched when the job was created.
        published: acknowledged commands.
        skipped: number of skipped requests by reason.
        cursor: the requests behind it are still to do.
    """

    id: str
    command: JobCommand
    wanted: RequestFilter
    options: OptionChanges
    by: str
    origin: str
    total: int
    cursor: Cursor
    created_at: float
    updated_at: float
    ended_at: float | None = None
    state: JobState = "running"
    error: str | None = None
    published: int = 0
    skipped: dict[str, int] = {}

    @property
    def processed(self) -> int:
        return self.published + sum(self.skipped.values())

    @property
    def filter_texts(self) -> dict[str, str]:
        """The filter as parameters of a query."""
        given = {name: getattr(self.wanted, name) for name in RequestFilter.__struct_fields__}
        return {
            name: format_time(value) if name == "since" else value
            for name, value in given.items()
            if value is not None
        }

    @property
    def option_texts(self) -> dict[str, object]:
        """The changed options by name."""
        options: dict[str, object] = msgspec.to_builtins(self.options)
        return options

    def after(self, progress: ChunkResult, now: float) -> "BulkJob":
        """Return the job after a chunk."""
        reasons = self.skipped.keys() | progress.skipped.keys()
        is_done = progress.cursor is None
        return msgspec.structs.replace(
            self,
            published=self.published + progress.published,
            skipped={
                each: self.skipped.get(each, 0) + progress.skipped.get(each, 0)
                for each in sorted(reasons)
            },
            cursor=progress.cursor or self.cursor,
            state="done" if is_done else "running",
            error=None,
            updated_at=now,
            ended_at=now if is_done else None,
        )

    def waiting(self, error: str, now: float) -> "BulkJob":
        """Return the job with the reason why its chunk has to be published again."""
        return msgspec.structs.replace(self, error=error, updated_at=now)

    def ended(self, state: JobState, now: float, error: str | None = None) -> "BulkJob":
        return msgspec.structs.replace(self, state=state, error=error, updated_at=now, ended_at=now)


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A command that is applied to all requests that match a filter.

    Attributes:
        options: changes that a retry makes.
        by: author of the commands.
        error: why it has failed, or why it waits while it is running.
        total: requests that matched when the job was created.
        published: acknowledged commands.
        skipped: number of skipped requests by reason.
        href: the job, relative to `/api/v1/`.
    """

    id: str
    command: JobCommand
    filter: dict[str, str]
    options: OptionChanges
    by: str
    state: JobState
    error: str | None
    total: int
    published: int
    skipped: dict[str, int]
    created_at: str
    updated_at: str
    ended_at: str | None
    href: str


def job_view(job: BulkJob) -> JobView:
    """Return the fields of a job; times are RFC 3339."""
    return JobView(
        id=job.id,
        command=job.command,
        filter=job.filter_texts,
        options=job.options,
        by=job.by,
        state=job.state,
        error=job.error,
        total=job.total,
        published=job.published,
        skipped=job.skipped,
        created_at=format_time(job.created_at),
        updated_at=format_time(job.updated_at),
        ended_at=None if job.ended_at is None else format_time(job.ended_at),
        href=f"jobs/{job.id}",
    )
