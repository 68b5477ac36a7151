"""validation: is this a request, and which video does it mean?

Reads requests, refuses nonsense with a reason, resolves short links, makes one event per URL and
keys it by video.
"""

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from agents.access.egress import open_egresses
from agents.access.gate import OutboundGate, installed_plugins
from agents.network.session import open_session
from agents.pipeline.cancellation import RequestCancelledError, cancellable
from agents.pipeline.events import EVENT_TOPICS, audit, propose_result, send_event
from agents.pipeline.failures import as_bug, to_failure
from agents.pipeline.ownership import placeholder_job, received_at
from agents.pipeline.reply_routing import check_reply, salvaged_reply
from agents.pipeline.request_claims import SLICE, claim_of_request
from agents.pipeline.request_parsing import (
    cause_of,
    field_of,
    is_json,
    jobs_of,
    read_request,
    recover_identity,
    refusal,
)
from agents.pipeline.results import cancelled, ended, expired, facts_of, is_expired, rejected
from agents.platforms.links import LinkResolver
from agents.platforms.registry import Platforms
from agents.validation.pending import read_pending
from agents.validation.url_resolution import Links, NoLinkError, TargetFinder, event_of
from schemas.codec import MalformedMessageError
from schemas.error_catalog import explain
from schemas.errors import ClipmillError, ErrorCode, ErrorContext
from schemas.events import PendingLink
from schemas.job import Job
from streams.cluster.shared_state import SharedState
from streams.deadletters.headers import replays_of
from streams.envelope import TYPE_PREFIX, Envelope, open_envelope
from streams.observability.metrics import FAILURES, STEP_DURATION, observe, start_at_zero
from streams.records import Effect, Incoming, Outgoing
from streams.runtime.processor import dead_letter
from streams.settings import Settings
from streams.stage import Slices, SlicingHandler, Stage, StageContext
from streams.topics import REQUESTS

NAME = "validation"

READ_AHEAD = 60_000
"""Requests that are held: what is unread cannot be put in order. Most are small; `HELD_BYTES_MAX`
bounds them too."""


class Validation:
    """The stage's work.

    Args:
        finder: finds out what URLs mean.
        signals: tell what was taken back.
        reply_topics: topics that a request may name in ``reply_to``.
    """

    def __init__(
        self, finder: TargetFinder, signals: SharedState, reply_topics: Collection[str] = ()
    ) -> None:
        self._finder = finder
        self._signals = signals
        self._reply_topics = reply_topics

    async def handle(self, record: Incoming) -> Sequence[Effect] | Slices:
        """Return what follows from a record on the requests topic, whatever is in it."""
        try:
            envelope = open_envelope(record)
        except MalformedMessageError as error:
            return _refuse(record, refusal(error))
        try:
            asked = _read(envelope, record)
            check_reply(asked[0][0].reply, self._reply_topics, record)
        except ClipmillError as error:
            return _refuse(record, error, envelope)
        cause = cause_of(envelope, record)
        if len(asked) == 1:
            return await self._member(*asked[0], cause, record)
        return self._slices(asked, cause, record)

    async def _slices(self, asked: list["Asked"], cause: str, record: Incoming) -> Slices:
        for first in range(0, len(asked), SLICE):
            effects: list[Effect] = []
            for job, url in asked[first : first + SLICE]:
                effects += await self._member(job, url, cause, record, alone=False)
            yield effects

    async def _member(
        self, job: Job, url: Any, cause: str, record: Incoming, *, alone: bool = True
    ) -> Sequence[Effect]:
        """Return what follows from one URL."""
        if is_expired(job, datetime.now(UTC)):
            return [propose_result(job, NAME, expired(job, NAME), cause)]
        try:
            with cancellable(job, self._signals):
                return await self._follow(job, url, cause, record, alone=alone)
        except RequestCancelledError:
            return [propose_result(job, NAME, cancelled(job, NAME), cause)]

    async def _follow(
        self, job: Job, url: Any, cause: str, record: Incoming, *, alone: bool
    ) -> Sequence[Effect]:
        started = time.perf_counter()
        try:
            target = await self._finder.find(job, url, alone=alone)
        except NoLinkError as error:
            return [_reject(_timed(job, started, "finished"), error.reason, cause)]
        except ClipmillError as error:
            return _not_found(_timed(job, started, "failed"), error, cause, record)
        except Exception as error:  # noqa: BLE001  (a bug must not end the rest of the batch)
            return _not_found(_timed(job, started, "failed"), as_bug(error), cause, record)
        job = _timed(job, started, "passed")
        if target is None:
            return _pend(job, cause)
        event = event_of(job, target)
        return [
            send_event(event, NAME, cause),
            audit(event.job, NAME, "accepted", cause, detail={"video": target.key}),
        ]


Asked = tuple[Job, Any]
"""A job, its URL bounded, and what the client really gave as its URL."""


def _read(envelope: Envelope, record: Incoming) -> list[Asked]:
    """Return the jobs that a record asks for; from the dead letters as requests of their own."""
    return [(_counted(job, record), url) for job, url in _asked(envelope, record)]


def _counted(job: Job, record: Incoming) -> Job:
    number = replays_of(record)
    return job.replayed(number, received_at(record)) if number > job.replays else job


def _asked(envelope: Envelope, record: Incoming) -> list[Asked]:
    """Return new jobs, or one that comes back."""
    if envelope.type == TYPE_PREFIX + EVENT_TOPICS[PendingLink][1]:
        job = read_pending(envelope, record)
        return [(job, job.url)]
    request = read_request(envelope)
    urls = (request.url,) if request.urls is None else request.urls
    return list(zip(jobs_of(request, envelope, record), urls, strict=True))


def _timed(job: Job, started: float, outcome: str) -> Job:
    seconds = time.perf_counter() - started
    observe(STEP_DURATION.labels(NAME, job.action, "", outcome), seconds)
    return job.spent(NAME, seconds)


_FINAL = ("request.", "content.")
"""Families of codes that no second look at a link changes."""


def _pend(job: Job, cause: str) -> Sequence[Effect]:
    link = send_event(PendingLink(job=job), NAME, cause)
    return [link, audit(job, NAME, "accepted", cause)]


def _not_found(job: Job, error: ClipmillError, cause: str, record: Incoming) -> Sequence[Effect]:
    """Return the outcome of a link that is none, or the failure of one that may yet be."""
    if error.code.startswith(_FINAL):
        return [propose_result(job, NAME, ended(job, _explain(job, error)), cause)]
    link, accepted = _pend(job, cause)
    # The link alone, not the client's record: that may be a batch of a thousand.
    assert isinstance(link, Outgoing)
    alone = replace(record, key=link.key, value=link.value, headers=link.headers)
    failed = to_failure(PendingLink(job=job), error, NAME, alone, cause)
    return [failed, accepted] if job.tries == 1 else [failed]


def _reject(job: Job, error: ClipmillError, cause: str) -> Effect:
    """Return the outcome of a text that is no link to a video, whatever the reason."""
    return propose_result(job, NAME, rejected(job, _explain(job, error)), cause)


def _explain(job: Job, error: ClipmillError) -> ErrorContext:
    details = facts_of(error) | {"field": field_of(job)}
    return explain(
        error.code, operation=NAME, url=job.url, details=details, request_id=job.request_id
    )


def _refuse(
    record: Incoming, error: ClipmillError, envelope: Envelope | None = None
) -> Sequence[Effect]:
    """Return the outcome of a record that is no request; an unreadable one is also kept."""
    told = recover_identity(record, envelope)
    job = _counted(placeholder_job(told.request_id, record, told.url), record)
    reply = salvaged_reply(record, told.reply_to)
    job = msgspec.structs.replace(job, attributes=told.attributes, reply=reply)
    details = facts_of(error) | told.envelope_ids
    context = explain(error.code, operation=NAME, url=told.url, details=details)
    cause = cause_of(envelope, record) if envelope else record.record_id
    effects: list[Effect] = [propose_result(job, NAME, ended(job, context), cause)]
    if not is_json(envelope.data if envelope else record.value):
        effects.append(dead_letter(record, error, NAME))
    return effects


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return what an unexpected exception leads to: outcomes that say so, and a dead letter."""
    bug = as_bug(error)
    outcomes: list[Effect] = []
    for job in _owners(record):
        context = _explain(job, bug)
        outcomes.append(propose_result(job, NAME, ended(job, context), record.record_id))
    return [*outcomes, dead_letter(record, error, NAME)]


def _owners(record: Incoming) -> list[Job]:
    """Return the jobs of a record, one of which little is known when it has none."""
    try:
        return [job for job, _ in _read(open_envelope(record), record)]
    except Exception:  # noqa: BLE001  (reading may be where the bug is)
        told = recover_identity(record, None)
        job = _counted(placeholder_job(told.request_id, record, told.url), record)
        return [msgspec.structs.replace(job, reply=salvaged_reply(record, told.reply_to))]


@asynccontextmanager
async def open_validation(context: StageContext) -> AsyncIterator[SlicingHandler]:
    """Open the ways out for short links."""
    start_at_zero(FAILURES, [NAME], ErrorCode)
    async with AsyncExitStack() as stack:
        links: dict[str, Links] = {
            name: LinkResolver(await stack.enter_async_context(open_session(egress)))
            for name, egress in open_egresses(context.settings).items()
        }
        gate = OutboundGate("resolve", tuple(links), context, plugins=installed_plugins())
        finder = TargetFinder(Platforms.load(context.settings.platforms), links, gate)
        yield Validation(finder, context.signals, context.settings.kafka.reply_topics).handle


def window(settings: Settings) -> int:
    """Return how many requests are held."""
    return max(settings.stage.window, READ_AHEAD)


stage = Stage(
    name=NAME,
    sources=(REQUESTS,),
    open=open_validation,
    on_bug=on_bug,
    window=window,
    ordered=False,
    claim=claim_of_request,
)
