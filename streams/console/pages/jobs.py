"""The pages of jobs: the list, one job, and the form that confirms a new one."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import web

from streams.console.access import USER
from streams.console.api.jobs import COMMANDS, LATEST_MAX
from streams.console.commands import parse_options
from streams.console.errors import CallError
from streams.console.forms import OPTION_FIELDS, form_values, option_values
from streams.console.jobs.job import JobCommand
from streams.console.jobs.ordering import create_job, stop_job
from streams.console.jobs.planning import JobOrder, find_matches
from streams.console.pages.rendering import Renderer, redirect
from streams.console.queries import FILTERS, parse_filter
from streams.console.services import Services
from streams.history.rows import format_time


class JobPages:
    """The handlers of these pages."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._services = services
        self._store = services.store
        self._jobs = services.jobs
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/jobs", self.list_jobs)
        router.add_get("/job", self.show_job)
        router.add_get("/new-job", self.confirm)
        router.add_post("/new-job", self.create)
        router.add_post("/stop-job", self.stop)

    async def list_jobs(self, _request: web.Request) -> web.Response:
        jobs = await asyncio.to_thread(self._jobs.latest, LATEST_MAX)
        return self._renderer.page("jobs.html", jobs=jobs)

    async def show_job(self, request: web.Request) -> web.Response:
        job_id = request.query.get("id", "")
        job = await asyncio.to_thread(self._jobs.job, job_id)
        if job is None:
            raise _unknown(job_id)
        return self._renderer.page("job.html", job=job)

    async def confirm(self, request: web.Request) -> web.Response:
        return await self._confirmation(request.query)

    async def create(self, request: web.Request) -> web.Response:
        """Create the job of the form; an error shows the form again, with the present count."""
        form = await form_values(request)
        try:
            order = _parse_order(form, request[USER])
            job = await create_job(self._services, order)
        except CallError as error:
            return await self._confirmation(form, str(error), error.status)
        return redirect("job", id=job.id)

    async def stop(self, request: web.Request) -> web.Response:
        job_id = (await form_values(request)).get("id", "")
        job = await stop_job(self._jobs, self._services.producer, job_id, request[USER])
        if job is None:
            raise _unknown(job_id)
        return redirect("job", id=job_id)

    async def _confirmation(
        self, values: Mapping[str, str], error: str | None = None, status: int = 200
    ) -> web.Response:
        command, texts = _command(values), _filter_texts(values)
        matches = await asyncio.to_thread(find_matches, self._store, parse_filter(texts))
        return self._renderer.page(
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


def _parse_order(form: Mapping[str, str], by: str) -> JobOrder:
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


def _unknown(job_id: str) -> CallError:
    return CallError(404, "id", f"There is no job {job_id[:200]!r}.")
