"""validation: decodes requests and resolves their URLs, one event per URL, keyed by video.

Invalid requests are rejected with a reason. Short links are resolved here; those in a batch are
published again as records of their own (`agents.validation.requested_jobs`).
"""

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from agents.access import OutboundGate, installed_plugins, open_egresses
from agents.network.session import open_session
from agents.pipeline import (
    STEP_TOPICS,
    RequestCancelledError,
    audit,
    cancellable,
    cancelled,
    error_result,
    expired,
    is_cancelled,
    is_expired,
    propose_result,
    send_event,
)
from agents.pipeline.failures import as_bug, to_failure
from agents.pipeline.request_claims import SLICE, claim_of_request
from agents.pipeline.request_parsing import cause_of, check_reply, rejection
from agents.platforms import Platforms, Target
from agents.platforms.short_links import LinkResolver
from agents.validation.requested_jobs import (
    NAME,
    RequestedJob,
    explain_failure,
    on_bug,
    read_jobs,
    reject_record,
    reject_url,
)
from agents.validation.url_resolution import (
    ShortLinkResolver,
    TargetFinder,
    UnusableUrlError,
    event_of,
)
from schemas import ClipmillError, ErrorCode, Job, MalformedMessageError, PendingLink
from streams import (
    ATTEMPTS,
    REQUESTS,
    VALIDATED,
    Effect,
    Incoming,
    Outgoing,
    Settings,
    SharedState,
    Slices,
    SlicingHandler,
    Stage,
    StageContext,
    SyncFirstHandler,
    open_envelope,
)
from streams.observability.metrics import FAILURES, STEP_DURATION, observe, series, start_at_zero

READ_AHEAD = 60_000
"""Requests in flight: the priority queue cannot order unread records. Most are small;
`HELD_BYTES_MAX` bounds them too."""


class Validation:
    """The stage's step.

    Args:
        finder: resolves URLs to posts and listings.
        shared_state: shared state with the cancelled requests.
        reply_topics: topics that a request may name in ``reply_to``.
    """

    def __init__(
        self, finder: TargetFinder, shared_state: SharedState, reply_topics: Collection[str] = ()
    ) -> None:
        self._finder = finder
        self._shared_state = shared_state
        self._reply_topics = reply_topics

    async def handle(self, record: Incoming) -> Sequence[Effect] | Slices:
        """Handle any record of the requests topic; batches yield their effects in slices."""
        read = self._read(record)
        if not isinstance(read, _RequestedJobs):
            return read
        if len(read.jobs) == 1:
            return await self._handle_url(*read.jobs[0], read.cause, record)
        return self._slices(read.jobs, read.cause, record)

    def handle_sync(self, record: Incoming) -> Sequence[Effect] | None:
        """Handle an invalid record, or a single URL that needs no network call; else None."""
        started = time.perf_counter()
        read = self._read(record)
        if not isinstance(read, _RequestedJobs):
            return read
        (job, url), *members = read.jobs
        if members or is_expired(job, datetime.now(UTC)) or is_cancelled(job, self._shared_state):
            return None
        try:
            target = self._finder.find_sync(job, url)
        except UnusableUrlError:
            return None
        if target is None:
            return None
        return _accept(_with_timing(job, started, "passed"), target, read.cause)

    def _read(self, record: Incoming) -> "_RequestedJobs | Sequence[Effect]":
        """Return the jobs of a record, or the rejection of an invalid one."""
        try:
            envelope = open_envelope(record)
        except MalformedMessageError as error:
            return reject_record(record, rejection(error))
        try:
            requested = read_jobs(envelope, record)
            check_reply(requested[0][0].reply, self._reply_topics, record)
        except ClipmillError as error:
            return reject_record(record, error, envelope)
        return _RequestedJobs(requested, cause_of(envelope, record))

    async def _slices(self, requested: list[RequestedJob], cause: str, record: Incoming) -> Slices:
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
            with cancellable(job, self._shared_state):
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
            return [reject_url(_with_timing(job, started, "finished"), error.reason, cause)]
        except ClipmillError as error:
            return _resolution_failed(_with_timing(job, started, "failed"), error, cause, record)
        except Exception as error:  # noqa: BLE001  (a bug must not end the rest of the batch)
            return _resolution_failed(
                _with_timing(job, started, "failed"), as_bug(error), cause, record
            )
        job = _with_timing(job, started, "passed")
        return _postpone(job, cause) if target is None else _accept(job, target, cause)


@dataclass(frozen=True, slots=True)
class _RequestedJobs:
    """The jobs of a valid record with their URLs, and the id of the event that causes them."""

    jobs: list[RequestedJob]
    cause: str


def _accept(job: Job, target: Target, cause: str) -> Sequence[Effect]:
    event = event_of(job, target)
    return [
        send_event(event, NAME, cause),
        audit(event.job, NAME, "accepted", cause, detail={"video": target.key}),
    ]


def _with_timing(job: Job, started: float, outcome: str) -> Job:
    seconds = time.perf_counter() - started
    observe(series(STEP_DURATION, NAME, job.action, "", outcome), seconds)
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
        return [propose_result(job, NAME, error_result(job, explain_failure(job, error)), cause)]
    link, accepted = _postpone(job, cause)
    # The failure carries the link's record, not the client's, which may be a batch of 1,000 URLs.
    assert isinstance(link, Outgoing)
    alone = msgspec.structs.replace(record, key=link.key, value=link.value, headers=link.headers)
    failed = to_failure(PendingLink(job=job), error, NAME, alone, cause)
    return [failed, accepted] if job.try_number == 1 else [failed]


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
        work = Validation(finder, context.shared_state, context.settings.kafka.reply_topics)
        yield SyncFirstHandler(work.handle_sync, work.handle)


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
