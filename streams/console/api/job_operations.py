"""Operations on jobs, and the types of their JSON."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from schemas.commands import OptionChanges
from streams.console.api.operations import CHANGE_ERRORS, READ_ERRORS, Body, Operation, Parameter
from streams.console.api.shapes import EmptyBody
from streams.console.jobs.job import JobCommand, JobState


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
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    href: str


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """The latest jobs, newest first."""

    jobs: tuple[JobView, ...]


class NewJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The order of a job.

    Attributes:
        filter: parameters of the list of requests; an empty object matches all.
        options: changes of a retry.
        expected: the job is refused when it applies to more requests.
        until: leave out requests received later: RFC 3339, or a time span such as `2h`.
    """

    command: JobCommand
    filter: dict[str, str]
    options: OptionChanges | UnsetType = UNSET
    expected: Annotated[int, msgspec.Meta(ge=0)] | UnsetType | None = UNSET
    until: str | UnsetType | None = UNSET


ID = Parameter(name="id", description="Id of the job.", example="5f0c")

_JOB: dict[str, Any] = {
    "id": "5f0c",
    "command": "retry",
    "filter": {"error": "content.not_found"},
    "options": {"quality": "360p"},
    "by": "ann",
    "state": "running",
    "error": None,
    "total": 300,
    "published": 100,
    "skipped": {"undecided": 2},
    "created_at": "2026-11-02T09:00:00.000Z",
    "updated_at": "2026-11-02T09:00:01.000Z",
    "ended_at": None,
    "href": "jobs/5f0c",
}

OPERATIONS = (
    Operation(
        method="get",
        path="/jobs",
        name="listJobs",
        summary="Return the latest jobs, newest first.",
        response=JobList,
        example={"jobs": [_JOB]},
    ),
    Operation(
        method="post",
        path="/jobs",
        name="createJob",
        summary="Apply a command to all requests that match a filter.",
        body=Body(
            content={"application/json": NewJob},
            example={
                "command": "retry",
                "filter": {"error": "content.not_found"},
                "options": {"quality": "360p"},
                "expected": 300,
            },
        ),
        status=202,
        response=JobView,
        example=_JOB,
        errors=(*CHANGE_ERRORS, 409),
    ),
    Operation(
        method="get",
        path="/jobs/{id}",
        name="showJob",
        summary="Return a job.",
        parameters=(ID,),
        response=JobView,
        example=_JOB,
        errors=(*READ_ERRORS, 404),
    ),
    Operation(
        method="post",
        path="/jobs/{id}/stop",
        name="stopJob",
        summary="Stop a job behind its present chunk; one that has ended stays as it is.",
        parameters=(ID,),
        body=Body(content={"application/json": EmptyBody}, example={}, required=False),
        status=202,
        response=JobView,
        example={**_JOB, "state": "stopped", "ended_at": "2026-11-02T09:00:01.000Z"},
        errors=(*CHANGE_ERRORS, 404),
    ),
)
