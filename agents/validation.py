"""validation: is this a request, and which video does it mean?

Reads requests, refuses nonsense with a reason, resolves short links, makes one event per URL and
keys it by video.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from agents.egress import open_egress
from agents.intake import (
    cause_of,
    field_of,
    is_json,
    jobs_of,
    read_request,
    refusal,
    salvage,
)
from agents.letters import EVENT_TOPICS, audit, finish, send_event
from agents.network.session import open_session
from agents.outcomes import ended, expired, facts_of, is_expired, rejected
from agents.pending import read_pending
from agents.platforms.interface import Platform, ShortLink
from agents.platforms.links import LinkResolver
from agents.platforms.registry import Platforms
from agents.step import as_bug, bare_job, fail_event
from schemas.codec import MalformedMessageError
from schemas.errors import ClipmillError, ErrorContext
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

BREATH = 50
"""Members of a batch after which other records get their turn; about 10 ms of work."""


class Links(Protocol):
    """Finds the videos that short links stand for."""

    async def resolve(self, link: ShortLink, platform: Platform) -> VideoRef:
        """Return the video; raises `ClipmillError`."""
        ...


class NoLinkError(Exception):
    """A text is no link to a video, for this reason."""

    def __init__(self, reason: ClipmillError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Validation:
    """The stage's work."""

    def __init__(self, platforms: Platforms, links: Links) -> None:
        self._platforms = platforms
        self._links = links

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return what follows from a record on the requests topic, whatever is in it."""
        try:
            envelope = open_envelope(record)
        except MalformedMessageError as error:
            return _refuse(record, refusal(error))
        try:
            asked = _read(envelope, record)
        except ClipmillError as error:
            return _refuse(record, error, envelope)
        cause = cause_of(envelope, record)
        if len(asked) == 1:
            return await self._member(*asked[0], cause)
        return await self._batch(asked, cause)

    async def _batch(self, asked: list["Asked"], cause: str) -> Sequence[Effect]:
        effects: list[Effect] = []
        for index, (job, url) in enumerate(asked, start=1):
            effects += await self._member(job, url, cause, alone=False)
            if index % BREATH == 0:
                await asyncio.sleep(0)
        return effects

    async def _member(
        self, job: Job, url: Any, cause: str, *, alone: bool = True
    ) -> Sequence[Effect]:
        """Return what follows from one URL.

        A short link in company becomes a record of its own: a batch of slow links would hold up
        the commits of its partition.
        """
        if is_expired(job, datetime.now(UTC)):
            return [finish(job, NAME, expired(job, NAME), cause)]
        started = time.perf_counter()
        try:
            platform, found = self._read_link(url)
            if isinstance(found, ShortLink) and not alone:
                return [send_event(PendingLink(job=_timed(job, started)), NAME, cause)]
            video = await self._find_video(platform, found)
        except NoLinkError as error:
            return [_reject(_timed(job, started), error.reason, cause)]
        except ClipmillError as error:
            return [_not_found(_timed(job, started), error, cause)]
        except Exception as error:  # noqa: BLE001  (a bug must not end the rest of the batch)
            return [_not_found(_timed(job, started), as_bug(error), cause)]
        event = ValidatedVideo(job=_timed(job, started), video=video)
        return [
            send_event(event, NAME, cause),
            audit(event.job, NAME, "accepted", cause, detail={"video": video.key}),
        ]

    def _read_link(self, url: Any) -> tuple[Platform, VideoRef | ShortLink]:
        try:
            platform = self._platforms.for_url(url)
            return platform, platform.parse_url(url)
        except ClipmillError as error:
            raise NoLinkError(error) from None

    async def _find_video(self, platform: Platform, found: VideoRef | ShortLink) -> VideoRef:
        if isinstance(found, ShortLink):
            return await self._links.resolve(found, platform)
        return found


Asked = tuple[Job, Any]
"""A job, its URL bounded, and what the client really gave as its URL."""


def _read(envelope: Envelope, record: Incoming) -> list[Asked]:
    """Return the jobs that a record asks for, new ones or one that comes back."""
    if envelope.type == TYPE_PREFIX + EVENT_TOPICS[PendingLink][1]:
        job = read_pending(envelope, record)
        return [(job, job.url)]
    request = read_request(envelope)
    urls = (request.url,) if request.urls is None else request.urls
    return list(zip(jobs_of(request, envelope, record), urls, strict=True))


def _timed(job: Job, started: float) -> Job:
    return job.spent(NAME, time.perf_counter() - started)


_FINAL = ("request.", "content.")
"""Families of codes that no second look at a link changes."""


def _not_found(job: Job, error: ClipmillError, cause: str) -> Effect:
    """Return the outcome of a link that is none, or the failure of one that may yet be."""
    if not error.code.startswith(_FINAL):
        # Not under the client's key, which may be as large as a record.
        return fail_event(PendingLink(job=job), error, NAME, job.request_id.encode(), cause)
    return finish(job, NAME, ended(job, _explain(job, error)), cause)


def _reject(job: Job, error: ClipmillError, cause: str) -> Effect:
    """Return the outcome of a text that is no link to a video, whatever the reason."""
    return finish(job, NAME, rejected(job, _explain(job, error)), cause)


def _explain(job: Job, error: ClipmillError) -> ErrorContext:
    details = facts_of(error) | {"field": field_of(job)}
    return explain(error.code, operation=NAME, url=job.url, details=details)


def _refuse(
    record: Incoming, error: ClipmillError, envelope: Envelope | None = None
) -> Sequence[Effect]:
    """Return the outcome of a record that is no request; an unreadable one is also kept."""
    told = salvage(record, envelope)
    job = bare_job(told.request_id, record, told.url)
    job = msgspec.structs.replace(job, attributes=told.attributes)
    context = explain(error.code, operation=NAME, url=told.url, details=facts_of(error))
    effects: list[Effect] = [finish(job, NAME, ended(job, context), None)]
    if not is_json(envelope.data if envelope else record.value):
        effects.append(dead_letter(record, error, NAME))
    return effects


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return what an unexpected exception leads to: outcomes that say so, and a dead letter."""
    bug = as_bug(error)
    outcomes: list[Effect] = []
    for job in _owners(record):
        context = explain(bug.code, operation=NAME, url=job.url, details=facts_of(bug))
        outcomes.append(finish(job, NAME, ended(job, context), None))
    return [*outcomes, dead_letter(record, error, NAME)]


def _owners(record: Incoming) -> list[Job]:
    """Return the jobs of a record, one of which little is known when it has none."""
    try:
        return [job for job, _ in _read(open_envelope(record), record)]
    except Exception:  # noqa: BLE001  (reading may be where the bug is)
        told = salvage(record, None)
        return [bare_job(told.request_id, record, told.url)]


@asynccontextmanager
async def open_validation(context: StageContext) -> AsyncIterator[Handler]:
    """Open the way out for short links."""
    async with open_session(open_egress(context.settings)) as session:
        links = LinkResolver(session)
        yield Validation(Platforms.load(), links).handle


stage = Stage(name=NAME, sources=(REQUESTS,), open=open_validation, on_bug=on_bug, ordered=False)
