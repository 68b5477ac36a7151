"""validation: is this a request, and which video does it mean?

Reads requests, refuses nonsense with a reason, resolves short links, makes one event per URL and
keys it by video.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec

from agents.egress import open_egress
from agents.intake import clip, field_of, is_json, jobs_of, read_request, salvage
from agents.letters import EVENT_TOPICS, audit, finish, send_event
from agents.network.session import open_session
from agents.outcomes import ended, expired, is_expired
from agents.platforms.interface import ShortLink
from agents.platforms.links import LinkResolver
from agents.platforms.registry import Platforms
from agents.step import as_bug, bare_job, fail_event
from schemas.codec import MalformedMessageError, decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import PendingLink, ValidatedVideo
from schemas.job import Job
from schemas.messages import explain
from schemas.video import VideoRef
from streams.envelope import TYPE_PREFIX, Envelope, open_envelope
from streams.records import Effect, Incoming
from streams.stage import Handler, Stage, StageContext
from streams.topics import REQUESTS
from streams.work import dead_letter

NAME = "validation"

BATCH_CONCURRENCY = 16
"""Members of one batch that are looked at together: only short links wait for anything."""


class Validation:
    """The stage's work."""

    def __init__(self, platforms: Platforms, links: LinkResolver) -> None:
        self._platforms = platforms
        self._links = links

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return what follows from a record on the requests topic, whatever is in it."""
        try:
            envelope = open_envelope(record)
        except MalformedMessageError as error:
            return _refuse(record, ClipmillError(*_INVALID, error.reason, field=error.field))
        if envelope.type == TYPE_PREFIX + EVENT_TOPICS[PendingLink][1]:
            return await self._resume(record, envelope)
        try:
            request = read_request(envelope)
        except ClipmillError as error:
            return _refuse(record, error, envelope)
        jobs = jobs_of(request, envelope, record)
        fields = [field_of(job, request.urls) for job in jobs]
        return await self._members(jobs, fields, record, envelope)

    async def _members(
        self, jobs: list[Job], fields: list[str], record: Incoming, envelope: Envelope
    ) -> Sequence[Effect]:
        limit = asyncio.Semaphore(BATCH_CONCURRENCY)

        async def member(job: Job, field: str) -> Sequence[Effect]:
            async with limit:
                return await self._member(job, field, record, envelope)

        parts = await asyncio.gather(*map(member, jobs, fields))
        return [effect for part in parts for effect in part]

    async def _resume(self, record: Incoming, envelope: Envelope) -> Sequence[Effect]:
        """Try again to resolve a short link."""
        try:
            pending = decode(envelope.data, PendingLink)
        except MalformedMessageError as error:
            invalid = ClipmillError(*_INVALID, error.reason, field=error.field)
            return _refuse(record, invalid, envelope)
        return await self._member(pending.job, "$.url", record, envelope)

    async def _member(
        self, job: Job, field: str, record: Incoming, envelope: Envelope
    ) -> Sequence[Effect]:
        if is_expired(job, datetime.now(UTC)):
            return [finish(job, NAME, expired(job, NAME), envelope.id)]
        try:
            video = await self._find_video(job)
        except ClipmillError as error:
            return [_not_found(job, field, error, record, envelope)]
        event = ValidatedVideo(job=job, video=video)
        return [
            send_event(event, NAME, envelope.id),
            audit(job, NAME, "accepted", envelope.id, detail={"video": video.key}),
        ]

    async def _find_video(self, job: Job) -> VideoRef:
        platform = self._platforms.for_url(job.url)
        found = platform.parse_url(job.url)
        if isinstance(found, ShortLink):
            return await self._links.resolve(found, platform)
        return found


_INVALID = (ErrorCode.REQUEST_INVALID,)

_FINAL = ("request.", "content.")
"""Families of codes that no second look at a link changes."""


def _not_found(
    job: Job, field: str, error: ClipmillError, record: Incoming, envelope: Envelope
) -> Effect:
    """Return the outcome of a link that is none, or the failure of one that may yet be."""
    job = msgspec.structs.replace(job, url=clip(job.url))
    if not error.code.startswith(_FINAL):
        return fail_event(PendingLink(job=job), error, NAME, record.key, envelope.id)
    details = {"field": field, "reason": error.message, **error.details}
    context = explain(error.code, operation=NAME, url=job.url, details=details)
    return finish(job, NAME, ended(job, context), envelope.id)


def _refuse(
    record: Incoming, error: ClipmillError, envelope: Envelope | None = None
) -> Sequence[Effect]:
    """Return the outcome of a record that is no request; an unreadable one is also kept."""
    data = envelope.data if envelope else record.value
    request_id, url = salvage(data)
    job = bare_job(request_id or record.position, record, url)
    details = {"reason": error.message, **error.details}
    context = explain(error.code, operation=NAME, url=url, details=details)
    effects: list[Effect] = [finish(job, NAME, ended(job, context), None)]
    if envelope is None or not is_json(data):
        effects.append(dead_letter(record, error, NAME))
    return effects


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return what an unexpected exception leads to: an outcome that says so, and a dead letter."""
    request_id, url = salvage(record.value)
    job = bare_job(request_id or record.position, record, url)
    bug = as_bug(error)
    context = explain(bug.code, operation=NAME, url=url, details=bug.details)
    return [finish(job, NAME, ended(job, context), None), dead_letter(record, error, NAME)]


@asynccontextmanager
async def open_validation(context: StageContext) -> AsyncIterator[Handler]:
    """Open the way out for short links."""
    async with open_session(open_egress(context.settings)) as session:
        links = LinkResolver(session)
        yield Validation(Platforms.load(), links).handle


stage = Stage(name=NAME, sources=(REQUESTS,), open=open_validation, on_bug=on_bug, ordered=False)
