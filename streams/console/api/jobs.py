"""Jobs: create, list, show, stop."""

import asyncio
from datetime import UTC, datetime
from typing import Any, get_args

from aiohttp import web

from streams.console.access import USER
from streams.console.api.responses import ROOT, json_response, read_object
from streams.console.commands import parse_options
from streams.console.errors import CallError
from streams.console.jobs.job import JobCommand, job_to_json
from streams.console.jobs.ordering import create_job, stop_job
from streams.console.jobs.planning import JobOrder
from streams.console.queries import parse_filter
from streams.console.services import Services
from streams.moments import parse_past

LATEST_MAX = 100
"""Jobs in the list."""

COMMANDS: tuple[JobCommand, ...] = get_args(JobCommand)


class JobApi:
    """The handlers of jobs."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.jobs

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/jobs", self.list_jobs)
        router.add_post(f"{ROOT}/jobs", self.create)
        router.add_get(f"{ROOT}/jobs/{{id}}", self.show_job)
        router.add_post(f"{ROOT}/jobs/{{id}}/stop", self.stop)

    async def list_jobs(self, _request: web.Request) -> web.Response:
        """Return the latest jobs, newest first."""
        jobs = await asyncio.to_thread(self._jobs.latest, LATEST_MAX)
        return json_response({"jobs": list(map(job_to_json, jobs))})

    async def show_job(self, request: web.Request) -> web.Response:
        job = await asyncio.to_thread(self._jobs.job, request.match_info["id"])
        if job is None:
            raise _unknown()
        return json_response(job_to_json(job))

    async def create(self, request: web.Request) -> web.Response:
        """Create the job that applies a command to all requests that match."""
        body = await read_object(request, "command", "filter", "options", "expected", "until")
        order = _parse_order(body, request[USER])
        job = await create_job(self._services, order)
        return json_response(job_to_json(job), 202)

    async def stop(self, request: web.Request) -> web.Response:
        """Stop a job behind its present chunk; one that has ended stays as it is."""
        await read_object(request)
        job = await stop_job(
            self._jobs, self._services.producer, request.match_info["id"], request[USER]
        )
        if job is None:
            raise _unknown()
        return json_response(job_to_json(job), 202)


def _parse_order(body: dict[str, Any], by: str) -> JobOrder:
    command, criteria, expected = (body.get(each) for each in ("command", "filter", "expected"))
    if command not in COMMANDS:
        raise CallError(400, "command", f"`$.command` is one of {', '.join(COMMANDS)}")
    if not isinstance(criteria, dict) or not all(isinstance(it, str) for it in criteria.values()):
        raise CallError(400, "filter", "`$.filter` is an object of texts; {} matches all requests")
    if command != "retry" and "options" in body:
        raise CallError(400, "options", "`$.options` are of a retry only")
    if expected is not None and (type(expected) is not int or expected < 0):
        raise CallError(400, "expected", "`$.expected` is a number of requests")
    return JobOrder(
        command=command,
        wanted=parse_filter(criteria),
        options=parse_options(body.get("options", {})),
        by=by,
        expected=expected,
        until=_until(body.get("until")),
    )


def _until(text: object) -> float | None:
    try:
        return None if text is None else parse_past(str(text), datetime.now(UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise CallError(400, "until", f"until: {error}") from None


def _unknown() -> CallError:
    return CallError(404, "id", "there is no job of this id")
