"""validation: decodes requests and resolves their URLs, one event per URL, keyed by video.

Invalid requests are rejected with a reason. Short links are resolved here; those in a batch are
published again as records of their own (`agents.validation.pending`).
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
from agents.pipeline.reply_routing import check_reply, recover_reply
from agents.pipeline.request_claims import SLICE, claim_of_request
from agents.pipeline.request_parsing import (
    cause_of,
    field_of,
    is_json,
    jobs_of,
    read_request,
    recover_identity,
    rejection,
)
from agents.pipeline.results import (
    cancelled,
    details_of,
    error_result,
    expired,
    is_expired,
    rejected,
)
from agents.pipeline.step import STEP_TOPICS
from agents.platforms.links import LinkResolver
from agents.platforms.registry import Platforms
from agents.validation.pending import read_pending
from agents.validation.url_resolution import (
    ShortLinkResolver,
    TargetFinder,
    UnusableUrlError,
    event_of,
)
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
from streams.topics import ATTEMPTS, REQUESTS, VALIDATED

NAME = "validation"

READ_AHEAD = 60_000
"""Requests in flight: the priority queue cannot order unread records. Most are small;
`HELD_BYTES_MAX` bounds them too."""


class Validation:
    """The stage's step.

    Args:
        finder: resolves URLs to posts and listings.
        signals: shared state with the cancelled requests.
        reply_topics: topics that a request may name in ``reply_to``.
    """

    def __init__(
        self, finder: TargetFinder, signals: SharedState, reply_topics: Collection[str] = ()
    ) -> None:
        self._finder = finder
        self._signals = signals
        self._reply_topics = reply_topics

    async def handle(self, record: Incoming) -> Sequence[Effect] | Slices:
        """Handle any record of the requests topic; batches yield their effects in slices."""
        try:
            envelope = open_envelope(record)
        except MalformedMessageError as error:
            return _reject_record(record, rejection(error))
        try:
            requested = _read_jobs(envelope, record)
            check_reply(requested[0][0].reply, self._reply_topics, record)
        except ClipmillError as error:
            return _reject_record(record, error, envelope)
        cause = cause_of(envelope, record)
        if len(requested) == 1:
            return await self._handle_url(*requested[0], cause, record)
        return self._slices(requested, cause, record)

    async def _slices(
        self, requested: list["RequestedJob"], cause: str, record: Incoming
    ) -> Slices:
        for first in range(0, len(requested), SLICE):
            effects: list[Effect] = []
            for job, url in requested[first : first + SLICE]:
                effects += await self._handle_url(job, url, cause, record, alone=False)
            yield effects

    async def _handle_url(
        self, job: Job, url: Any, cause: str, record: Incoming, *, alone: bool = True
    ) -> Sequence[Effect]:
        if is_expired(job, datetime.now(UTC)):
            return [propose_result(job, NAME, expired(job, NAME), cause)]
        try:
            with cancellable(job, self._signals):
                return await self._resolve(job, url, cause, record, alone=alone)
        except RequestCancelledError:
            return [propose_result(job, NAME, cancelled(job, NAME), cause)]

    async def _resolve(
        self, job: Job, url: Any, cause: str, record: Incoming, *, alone: bool
    ) -> Sequence[Effect]:
        started = time.perf_counter()
        try:
            target = await self._finder.find(job, url, alone=alone)
        except UnusableUrlError as error:
            return [_reject_url(_with_timing(job, started, "finished"), error.reason, cause)]
        except ClipmillError as error:
            return _resolution_failed(_with_timing(job, started, "failed"), error, cause, record)
        except Exception as error:  # noqa: BLE001  (a bug must not end the rest of the batch)
            return _resolution_failed(
                _with_timing(job, started, "failed"), as_bug(error), cause, record
            )
        job = _with_timing(job, started, "passed")
        if target is None:
            return _postpone(job, cause)
        event = event_of(job, target)
        return [
            send_event(event, NAME, cause),
            audit(event.job, NAME, "accepted", cause, detail={"video": target.key}),
        ]


RequestedJob = tuple[Job, Any]
"""A job, whose URL is clipped, and the original URL as decoded."""


def _read_jobs(envelope: Envelope, record: Incoming) -> list[RequestedJob]:
    """Return the jobs of a record; a replayed dead letter starts requests of its own."""
    return [(_as_replay(job, record), url) for job, url in _requested_jobs(envelope, record)]


def _as_replay(job: Job, record: Incoming) -> Job:
    number = replays_of(record)
    return job.as_replay(number, received_at(record)) if number > job.replays else job


def _requested_jobs(envelope: Envelope, record: Incoming) -> list[RequestedJob]:
    """Return new jobs, or the job of a pending link."""
    if envelope.type == TYPE_PREFIX + EVENT_TOPICS[PendingLink][1]:
        job = read_pending(envelope, record)
        return [(job, job.url)]
    request = read_request(envelope)
    urls = (request.url,) if request.urls is None else request.urls
    return list(zip(jobs_of(request, envelope, record), urls, strict=True))


def _with_timing(job: Job, started: float, outcome: str) -> Job:
    seconds = time.perf_counter() - started
    observe(STEP_DURATION.labels(NAME, job.action, "", outcome), seconds)
    return job.with_timing(NAME, seconds)


_FINAL = ("request.", "content.")
"""Families of error codes that are final: a retry of the link cannot change them."""


def _postpone(job: Job, cause: str) -> Sequence[Effect]:
    link = send_event(PendingLink(job=job), NAME, cause)
    return [link, audit(job, NAME, "accepted", cause)]


def _resolution_failed(
    job: Job, error: ClipmillError, cause: str, record: Incoming
) -> Sequence[Effect]:
    """Return the result for a final error, else the failure of a link that can be retried."""
    if error.code.startswith(_FINAL):
        return [propose_result(job, NAME, error_result(job, _explain(job, error)), cause)]
    link, accepted = _postpone(job, cause)
    # The failure carries the link's record, not the client's, which may be a batch of 1,000 URLs.
    assert isinstance(link, Outgoing)
    alone = replace(record, key=link.key, value=link.value, headers=link.headers)
    failed = to_failure(PendingLink(job=job), error, NAME, alone, cause)
    return [failed, accepted] if job.try_number == 1 else [failed]


def _reject_url(job: Job, error: ClipmillError, cause: str) -> Effect:
    return propose_result(job, NAME, rejected(job, _explain(job, error)), cause)


def _explain(job: Job, error: ClipmillError) -> ErrorContext:
    details = details_of(error) | {"field": field_of(job)}
    return explain(
        error.code, operation=NAME, url=job.url, details=details, request_id=job.request_id
    )


def _reject_record(
    record: Incoming, error: ClipmillError, envelope: Envelope | None = None
) -> Sequence[Effect]:
    """Return the result of an invalid request; a record that is no JSON is also dead-lettered."""
    identity = recover_identity(record, envelope)
    job = _as_replay(placeholder_job(identity.request_id, record, identity.url), record)
    reply = recover_reply(record, identity.reply_to)
    job = msgspec.structs.replace(job, attributes=identity.attributes, reply=reply)
    details = details_of(error) | identity.envelope_ids
    context = explain(error.code, operation=NAME, url=identity.url, details=details)
    cause = cause_of(envelope, record) if envelope else record.record_id
    effects: list[Effect] = [propose_result(job, NAME, error_result(job, context), cause)]
    if not is_json(envelope.data if envelope else record.value):
        effects.append(dead_letter(record, error, NAME, request_id=identity.request_id))
    return effects


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """End the jobs of a record as ``internal.bug`` and dead-letter the record."""
    bug = as_bug(error)
    outcomes: list[Effect] = []
    for job in _recover_jobs(record):
        context = _explain(job, bug)
        outcomes.append(propose_result(job, NAME, error_result(job, context), record.record_id))
    return [*outcomes, dead_letter(record, error, NAME)]


def _recover_jobs(record: Incoming) -> list[Job]:
    """Return the jobs of a record, or a placeholder job when it cannot be decoded."""
    try:
        return [job for job, _ in _read_jobs(open_envelope(record), record)]
    except Exception:  # noqa: BLE001  (reading may be where the bug is)
        identity = recover_identity(record, None)
        job = _as_replay(placeholder_job(identity.request_id, record, identity.url), record)
        return [msgspec.structs.replace(job, reply=recover_reply(record, identity.reply_to))]


@asynccontextmanager
async def open_validation(context: StageContext) -> AsyncIterator[SlicingHandler]:
    start_at_zero(FAILURES, [NAME], ErrorCode)
    async with AsyncExitStack() as stack:
        links: dict[str, ShortLinkResolver] = {
            name: LinkResolver(await stack.enter_async_context(open_session(egress)))
            for name, egress in open_egresses(context.settings).items()
        }
        gate = OutboundGate(
            "resolve", tuple(links), context, step=NAME, plugins=installed_plugins()
        )
        finder = TargetFinder(Platforms.load(context.settings.platforms), links, gate)
        yield Validation(finder, context.signals, context.settings.kafka.reply_topics).handle


def window(settings: Settings) -> int:
    return max(settings.stage.window, READ_AHEAD)


stage = Stage(
    name=NAME,
    sources=(REQUESTS,),
    open=open_validation,
    on_bug=on_bug,
    writes=(VALIDATED, REQUESTS, ATTEMPTS, *STEP_TOPICS),
    purpose="rejects invalid requests and resolves URLs to posts and listings",
    window=window,
    ordered=False,
    claim=claim_of_request,
)
