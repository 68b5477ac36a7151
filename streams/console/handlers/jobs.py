"""Bulk jobs: the list, one job, the confirmation of a new one, and the order to stop."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, get_args

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from schemas.commands import OptionChanges
from streams.console.access import USER
from streams.console.commands import parse_options
from streams.console.errors import CallError
from streams.console.forms import OPTION_FIELDS, form_values, option_values
from streams.console.http_messages import json_response, read_object
from streams.console.jobs.job import JobCommand, JobView, job_view
from streams.console.jobs.planning import JobOrder, create_job, find_matches, stop_job
from streams.console.jobs.store import LATEST_MAX
from streams.console.queries import FILTERS, check_names, parse_filter, parse_moment
from streams.console.rendering import redirect, render
from streams.console.routes import (
    CHANGE_ERRORS,
    NO_BODY,
    READ_ERRORS,
    Body,
    Parameter,
    RouteOperation,
    Routes,
)
from streams.console.services import SERVICES
from streams.history.rows import format_time

ROUTES = Routes()

COMMANDS: tuple[JobCommand, ...] = get_args(JobCommand)


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


@ROUTES.get("/jobs")
async def jobs_page(request: web.Request) -> web.StreamResponse:
    jobs = await asyncio.to_thread(request.app[SERVICES].jobs.latest, LATEST_MAX)
    return render(request, "jobs.html", jobs=jobs)


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/jobs",
        name="listJobs",
        summary="Return the latest jobs, newest first.",
        response=JobList,
        example={"jobs": [_JOB]},
    )
)
async def list_jobs(request: web.Request) -> web.StreamResponse:
    jobs = await asyncio.to_thread(request.app[SERVICES].jobs.latest, LATEST_MAX)
    return json_response(msgspec.to_builtins(JobList(jobs=tuple(map(job_view, jobs)))))


@ROUTES.get("/job")
async def job_page(request: web.Request) -> web.StreamResponse:
    job_id = request.query.get("id", "")
    job = await asyncio.to_thread(request.app[SERVICES].jobs.job, job_id)
    if job is None:
        raise CallError(404, "id", f"There is no job {job_id[:200]!r}.")
    return render(request, "job.html", job=job)


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/jobs/{id}",
        name="showJob",
        summary="Return a job.",
        parameters=(ID,),
        response=JobView,
        example=_JOB,
        errors=(*READ_ERRORS, 404),
    )
)
async def show_job(request: web.Request) -> web.StreamResponse:
    job = await asyncio.to_thread(request.app[SERVICES].jobs.job, request.match_info["id"])
    if job is None:
        raise CallError(404, "id", "there is no job of this id")
    return json_response(msgspec.to_builtins(job_view(job)))


@ROUTES.get("/new-job")
async def new_job_page(request: web.Request) -> web.StreamResponse:
    check_names(request.query, ("command", *FILTERS))
    return await _confirmation(request, request.query)


@ROUTES.post("/new-job")
async def new_job_form(request: web.Request) -> web.StreamResponse:
    """Create the job of the form; an error shows the form again, with the present count."""
    form = await form_values(request)
    try:
        job = await create_job(request.app[SERVICES], _parse_form(form, request[USER]))
    except CallError as error:
        return await _confirmation(request, form, str(error), error.status)
    return redirect("job", id=job.id)


async def _confirmation(
    request: web.Request, values: Mapping[str, str], error: str | None = None, status: int = 200
) -> web.Response:
    command, texts = _command(values), _filter_texts(values)
    store = request.app[SERVICES].store
    matches = await asyncio.to_thread(find_matches, store, parse_filter(texts))
    return render(
        request,
        "new_job.html",
        status,
        command=command,
        texts=texts,
        count=matches.eligible(command),
        total=matches.total,
        until=format_time(matches.until),
        fields=OPTION_FIELDS if command == "retry" else (),
        error=error,
    )


def _parse_form(form: Mapping[str, str], by: str) -> JobOrder:
    try:
        expected = int(form["expected"])
        until = datetime.fromisoformat(form["until"]).astimezone(UTC).timestamp()
    except (KeyError, ValueError, OverflowError):
        raise CallError(400, "expected", "The form is incomplete; confirm it again.") from None
    return JobOrder(
        command=_command(form),
        wanted=parse_filter(_filter_texts(form)),
        options=parse_options(option_values(form)),
        by=by,
        expected=expected,
        until=until,
    )


def _command(values: Mapping[str, str]) -> JobCommand:
    for command in COMMANDS:
        if values.get("command") == command:
            return command
    raise CallError(400, "command", f"command: one of {', '.join(COMMANDS)}")


def _filter_texts(values: Mapping[str, str]) -> dict[str, str]:
    """Return the filter of a query or a form, in which the option fields have other names."""
    return {name: values[name] for name in FILTERS if values.get(name)}


@ROUTES.operation(
    RouteOperation(
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
    )
)
async def post_job(request: web.Request) -> web.StreamResponse:
    body = await read_object(request, "command", "filter", "options", "expected", "until")
    job = await create_job(request.app[SERVICES], _parse_body(body, request[USER]))
    return json_response(msgspec.to_builtins(job_view(job)), 202)


def _parse_body(body: dict[str, Any], by: str) -> JobOrder:
    command, criteria, expected = (body.get(each) for each in ("command", "filter", "expected"))
    if command not in COMMANDS:
        raise CallError(400, "command", f"`$.command` is one of {', '.join(COMMANDS)}")
    if not isinstance(criteria, dict) or not all(isinstance(it, str) for it in criteria.values()):
        raise CallError(400, "filter", "`$.filter` is an object of texts; {} matches all requests")
    if command != "retry" and "options" in body:
        raise CallError(400, "options", "`$.options` are of a retry only")
    if expected is not None and (type(expected) is not int or expected < 0):
        raise CallError(400, "expected", "`$.expected` is a number of requests")
    until = body.get("until")
    return JobOrder(
        command=command,
        wanted=parse_filter(criteria),
        options=parse_options(body.get("options", {})),
        by=by,
        expected=expected,
        until=parse_moment("until", None if until is None else str(until)),
    )


@ROUTES.post("/stop-job")
async def stop_job_form(request: web.Request) -> web.StreamResponse:
    job_id = (await form_values(request)).get("id", "")
    if await stop_job(request.app[SERVICES], job_id, request[USER]) is None:
        raise CallError(404, "id", f"There is no job {job_id[:200]!r}.")
    return redirect("job", id=job_id)


@ROUTES.operation(
    RouteOperation(
        method="post",
        path="/jobs/{id}/stop",
        name="stopJob",
        summary="Stop a job behind its present chunk; one that has ended stays as it is.",
        parameters=(ID,),
        body=NO_BODY,
        status=202,
        response=JobView,
        example={**_JOB, "state": "stopped", "ended_at": "2026-11-02T09:00:01.000Z"},
        errors=(*CHANGE_ERRORS, 404),
    )
)
async def stop(request: web.Request) -> web.StreamResponse:
    await read_object(request)
    job = await stop_job(request.app[SERVICES], request.match_info["id"], request[USER])
    if job is None:
        raise CallError(404, "id", "there is no job of this id")
    return json_response(msgspec.to_builtins(job_view(job)), 202)
