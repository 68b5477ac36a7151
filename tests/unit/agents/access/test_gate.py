"""OutboundGate: permitted calls, choice of egress, and reports to the monitor."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.access import breaker_client
from agents.access.breaker_client import REQUESTS_IN_FLIGHT, by_preference
from agents.access.gate import NO_PLUGINS, OutboundGate
from agents.access.rate_limits import Cost
from agents.pipeline.results import RequestCancelledError, cancellable
from agents.plugins import Plugin, PluginRequest, Plugins
from schemas.attempts import NetworkAttempt, TrialRequest
from schemas.codec import decode, encode
from schemas.errors import ClipmillError, Endpoint, ErrorCode
from schemas.job import Parking
from schemas.signals import BREAKER, CANCEL, RATE, BreakerState, RateState
from streams.observability.metrics import NOT_PERMITTED, REGISTRY
from streams.records import Outgoing
from streams.runtime.concurrency import ConcurrencyLimit
from streams.settings import LimitSettings
from streams.topics import ATTEMPTS
from tests.unit.agents.builders import (
    TRACE_ID,
    VIDEO,
    Clock,
    header,
    make_attempt,
    make_context,
    make_job,
    make_settings,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
SUBJECT = VIDEO.key
PREFERRED, OTHER = by_preference(("a", "b"), (), SUBJECT)
TRIAL = "r1:extract:1"


class GateHarness:
    """A gate, and the shared state that it reads; the test plays the monitor."""

    def __init__(
        self,
        *egresses: str,
        grant_seconds: float = 5.0,
        plugins: Plugins = NO_PLUGINS,
        **limits: Any,
    ) -> None:
        fast = {"default_requests_per_second": 1e6, **limits}
        self.context, self.sent = make_context(make_settings(limits=LimitSettings(**fast)))
        self.timer = Clock(10.0)
        self.called: list[str] = []
        self.gate = OutboundGate(
            "extract",
            egresses or ("direct",),
            self.context,
            step="extraction",
            clock=lambda: NOW,
            timer=self.timer,
            plugins=plugins,
            grant_seconds=grant_seconds,
        )

    def set_breaker(self, egress: str, state: Any, **changes: Any) -> None:
        fields = {"platform": "tiktok", "operation": "extract", "egress": egress, "since": NOW}
        value = encode(BreakerState(**{**fields, **changes}, state=state))
        self.context.shared_state.put(f"{BREAKER}tiktok:extract:{egress}", value)

    async def run(
        self,
        call: Callable[[str], Awaitable[str]] | None = None,
        *,
        reported: bool = True,
        **job: Any,
    ) -> str:
        return await self.gate.run(
            make_job(**job),
            platform="tiktok",
            subject=SUBJECT,
            call=call or self.succeed,
            reported=reported,
        )

    def set_rate(self, egress: str, per_second: float, **changes: Any) -> None:
        state = RateState(
            platform="tiktok",
            operation="extract",
            egress=egress,
            requests_per_second=per_second,
            since=NOW,
            **changes,
        )
        self.context.shared_state.put(f"{RATE}{state.name}", encode(state))

    async def succeed(self, egress: str) -> str:
        self.called.append(egress)
        self.timer.now += 1.5
        await asyncio.sleep(0)
        return f"by {egress}"

    async def first_trial_request(self) -> TrialRequest:
        """Return the first trial request, as soon as it is published."""
        async with asyncio.timeout(5):
            while not self.trial_requests():  # noqa: ASYNC110 - publishing sets no event
                await asyncio.sleep(0)
        return self.trial_requests()[0]

    def trial_requests(self) -> list[TrialRequest]:
        return [decode(each.value or b"", TrialRequest) for each in self._of("trial")]

    def attempts(self) -> list[NetworkAttempt]:
        return [decode(each.value or b"", NetworkAttempt) for each in self._of("attempt")]

    def _of(self, what: str) -> list[Outgoing]:
        kind = f"io.clipmill.network.{what}.v1"
        return [each for each in self.sent if header(each, "ce_type") == kind]


def failing_call(code: ErrorCode) -> Callable[[str], Awaitable[str]]:
    async def call(_egress: str) -> str:
        await asyncio.sleep(0)
        raise ClipmillError(code, "it is so")

    return call


async def raised_error(awaitable: Awaitable[str]) -> ClipmillError:
    with pytest.raises(ClipmillError) as caught:
        await awaitable
    return caught.value


# Reports to the monitor


async def test_success_is_reported_to_the_monitor() -> None:
    harness = GateHarness()
    assert await harness.run() == "by direct"
    (sent,) = harness.sent
    assert (sent.topic, sent.key) == (ATTEMPTS, b"tiktok:extract:direct")
    assert header(sent, "ce_source") == "/clipmill/extraction"
    assert header(sent, "ce_correlationid") == "r1"
    assert (header(sent, "traceparent") or "")[3:35] == TRACE_ID
    assert harness.attempts() == [
        NetworkAttempt(
            platform="tiktok",
            operation="extract",
            egress="direct",
            request_id="r1",
            subject=SUBJECT,
            code=None,
            seconds=1.5,
            at=NOW,
        )
    ]


@pytest.mark.parametrize("code", ErrorCode)
async def test_only_conclusive_failures_are_reported(
    code: ErrorCode,
) -> None:
    harness = GateHarness()
    error = await raised_error(harness.run(failing_call(code)))
    assert (error.code, error.permitted) == (code, True)
    assert error.endpoint == Endpoint(platform="tiktok", operation="extract", egress="direct")
    reported = code.startswith(("network.", "rate_limit.", "content.", "platform."))
    assert [each.code for each in harness.attempts()] == ([code] if reported else [])


@pytest.mark.parametrize(
    ("egresses", "details"), [((), {}), (("a",), {"egress": "a"})], ids=["direct", "a proxy"]
)
async def test_error_details_name_the_proxy_egress(
    egresses: tuple[str, ...], details: dict[str, str]
) -> None:
    error = await raised_error(GateHarness(*egresses).run(failing_call(ErrorCode.SYSTEM_CONFIG)))
    assert error.details == details


async def test_attempt_reports_rate_cuts_as_of_its_start() -> None:
    harness = GateHarness()
    harness.set_rate("direct", 10.0, cuts=3)

    async def cut_meanwhile(_egress: str) -> str:
        harness.set_rate("direct", 5.0, cuts=4)
        return "it is so"

    await harness.run(cut_meanwhile)
    await harness.run()
    assert [each.cuts for each in harness.attempts()] == [3, 4]


async def test_bugs_and_cancellations_are_not_reported() -> None:
    harness = GateHarness()

    async def bug(_egress: str) -> str:
        raise KeyError

    async def cancelled(_egress: str) -> str:
        raise asyncio.CancelledError

    with pytest.raises(KeyError):
        await harness.run(bug)
    with pytest.raises(asyncio.CancelledError):
        await harness.run(cancelled)
    assert harness.sent == []


@pytest.mark.parametrize(("step", "retry"), [("extraction", True), ("download", False)])
async def test_attempt_is_a_retry_only_after_attempts_of_the_same_step(
    step: str, *, retry: bool
) -> None:
    harness = GateHarness()
    await harness.run(attempts=(make_attempt(step=step),))
    assert harness.attempts()[0].retry is retry


async def test_redelivery_keeps_the_event_id_and_next_attempt_gets_another() -> None:
    harness = GateHarness()
    for attempts in ((), (), (make_attempt(),)):
        await harness.run(attempts=attempts)
    first, copy, second = (header(each, "ce_id") for each in harness.sent)
    assert first == copy != second


# Choice of egress


async def test_subject_keeps_its_preferred_egress() -> None:
    harness = GateHarness("a", "b")
    for number in range(5):
        await harness.run(request_id=f"r{number}")
    assert harness.called == [PREFERRED] * 5


async def test_avoided_egress_is_skipped_unless_all_are_avoided() -> None:
    harness = GateHarness("a", "b")
    await harness.run(avoid_egress=(PREFERRED,))
    await harness.run(avoid_egress=(OTHER, PREFERRED))
    assert harness.called == [OTHER, PREFERRED]


@pytest.mark.parametrize("state", ["open", "forced_open"])
async def test_open_breaker_diverts_to_another_egress(state: str) -> None:
    harness = GateHarness("a", "b")
    harness.set_breaker(PREFERRED, state, until=LATER)
    await harness.run()
    assert harness.called == [OTHER]
    assert harness.trial_requests() == []


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff"])
async def test_undecodable_breaker_state_permits_the_call(value: bytes) -> None:
    harness = GateHarness()
    harness.context.shared_state.put(f"{BREAKER}tiktok:extract:direct", value)
    assert await harness.run() == "by direct"


# Not permitted


async def test_open_breaker_rejects_the_call() -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "open", until=LATER, reason=ErrorCode.PLATFORM_CHANGED)
    counted = NOT_PERMITTED.labels("tiktok", "extract")._value.get()
    error = await raised_error(harness.run())
    assert (error.code, error.permitted) == (ErrorCode.PLATFORM_CHANGED, False)
    assert error.endpoint == Endpoint(platform="tiktok", operation="extract", egress="direct")
    assert "tiktok:extract:direct" in error.message
    assert (harness.called, harness.sent) == ([], [])
    name, labels = "clipmill_not_permitted_total", {"platform": "tiktok", "operation": "extract"}
    assert REGISTRY.get_sample_value(name, labels) == counted + 1


async def test_error_names_the_breaker_that_permits_first() -> None:
    harness = GateHarness("a", "b")
    harness.set_breaker(PREFERRED, "open", until=LATER + timedelta(seconds=1))
    harness.set_breaker(OTHER, "open", until=LATER)
    error = await raised_error(harness.run())
    assert error.endpoint is not None
    assert error.endpoint.egress == OTHER


@pytest.mark.parametrize("code", [None, ErrorCode.NETWORK_SERVER, ErrorCode.RATE_LIMIT_API])
async def test_attempt_that_does_not_count_is_not_reported(code: ErrorCode | None) -> None:
    harness = GateHarness()
    if code is None:
        await harness.run(reported=False)
    else:
        await raised_error(harness.run(failing_call(code), reported=False))
    assert harness.attempts() == []


async def test_attempt_that_does_not_count_obeys_the_breaker() -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "open", until=LATER)
    error = await raised_error(harness.run(reported=False))
    assert not error.permitted


# Trials


@pytest.mark.parametrize("code", [None, ErrorCode.NETWORK_SERVER])
async def test_trial_that_does_not_count_is_withdrawn(code: ErrorCode | None) -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "half_open", trials=(TRIAL,), trials_max=1)
    call = None if code is None else failing_call(code)
    await asyncio.gather(harness.run(call, reported=False), return_exceptions=True)
    assert harness.attempts() == []
    assert harness.trial_requests()[-1].withdrawn


@pytest.mark.parametrize("state", ["open", "half_open"])
async def test_granted_trial_is_made_and_reported_as_a_trial(state: str) -> None:
    harness = GateHarness()
    harness.set_breaker("direct", state, until=NOW, trials_max=5)
    running = asyncio.create_task(harness.run())
    request = await harness.first_trial_request()
    assert (request.trial, request.name, request.at) == (TRIAL, "tiktok:extract:direct", NOW)
    assert harness.sent[0].key == b"tiktok:extract:direct"
    assert harness.called == []
    harness.set_breaker("direct", "half_open", trials=("x", TRIAL), trials_max=5)
    assert await running == "by direct"
    assert [each.trial for each in harness.attempts()] == [TRIAL]


@pytest.mark.parametrize("code", [ErrorCode.NETWORK_SERVER, ErrorCode.SYSTEM_DISK_FULL])
async def test_failed_trial_is_reported_even_if_inconclusive(code: ErrorCode) -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "half_open", trials=(TRIAL,), trials_max=1)
    await raised_error(harness.run(failing_call(code)))
    assert [(each.trial, each.code) for each in harness.attempts()] == [(TRIAL, code)]
    assert harness.trial_requests() == []


async def test_breaker_closing_during_a_trial_request_permits_the_call() -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "half_open", trials=("x",), trials_max=1)
    running = asyncio.create_task(harness.run())
    await harness.first_trial_request()
    harness.set_breaker("direct", "closed")
    assert await running == "by direct"
    assert [each.trial for each in harness.attempts()] == [None]


async def test_breaker_reopening_during_a_trial_request_rejects_the_call() -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "half_open", trials=("x",), trials_max=1)
    running = asyncio.create_task(harness.run())
    await harness.first_trial_request()
    harness.set_breaker("direct", "half_open", trials=("x", "y"), trials_max=1)
    await asyncio.sleep(0)
    assert not running.done()
    harness.set_breaker("direct", "open", until=LATER)
    assert not (await raised_error(running)).permitted
    assert harness.called == []


@pytest.mark.parametrize("state", ["open", "half_open"])
async def test_trial_request_timeout_rejects_the_call_and_withdraws(state: str) -> None:
    harness = GateHarness(grant_seconds=0.02)
    harness.set_breaker("direct", state, until=NOW, trials_max=5)
    assert not (await raised_error(harness.run())).permitted
    assert (harness.called, harness.attempts()) == ([], [])
    assert [each.withdrawn for each in harness.trial_requests()] == [False, True]
    assert len({header(each, "ce_id") for each in harness.sent}) == 2


async def test_granted_trial_is_not_withdrawn() -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "open", until=NOW)
    running = asyncio.create_task(harness.run())
    trial = (await harness.first_trial_request()).trial
    harness.set_breaker("direct", "half_open", trials=(trial,), trials_max=5)
    await running
    assert [each.withdrawn for each in harness.trial_requests()] == [False]


async def exception_after_cancel(
    harness: GateHarness, call: Callable[[str], Awaitable[str]]
) -> type[BaseException]:
    """Cancel a run after 5 ms, unless it has ended; return the type of its exception."""
    running = asyncio.create_task(harness.run(call))
    await asyncio.sleep(0.005)
    running.cancel()
    (found,) = await asyncio.gather(running, return_exceptions=True)
    assert isinstance(found, BaseException)
    return type(found)


async def bug(_egress: str) -> str:
    await asyncio.sleep(0)
    raise KeyError


async def never_returns(_egress: str) -> str:
    return await asyncio.Event().wait() and ""


@pytest.mark.parametrize(
    ("call", "end"),
    [(never_returns, asyncio.CancelledError), (bug, KeyError)],
    ids=["cancelled", "bug"],
)
async def test_trial_ended_by_bug_or_cancellation_is_withdrawn(
    call: Callable[[str], Awaitable[str]], end: type[BaseException]
) -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "half_open", trials=(TRIAL,), trials_max=1)
    assert await exception_after_cancel(harness, call) is end
    assert harness.attempts() == []
    assert [(each.trial, each.withdrawn) for each in harness.trial_requests()] == [(TRIAL, True)]


async def test_trial_request_is_withdrawn_on_cancellation() -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "half_open", trials=("x",), trials_max=1)
    assert await exception_after_cancel(harness, harness.succeed) is asyncio.CancelledError
    assert [each.withdrawn for each in harness.trial_requests()] == [False, True]


async def test_trial_is_withdrawn_on_cancellation_in_the_bulkhead_queue() -> None:
    harness, call = GateHarness(extract_tasks=1), BlockingCall()
    (first,) = await start_calls(harness, call, "a")
    harness.set_breaker("direct", "half_open", trials=(TRIAL,), trials_max=1)
    assert await exception_after_cancel(harness, harness.succeed) is asyncio.CancelledError
    assert [(each.trial, each.withdrawn) for each in harness.trial_requests()] == [(TRIAL, True)]
    call.end.set()
    await first
    assert harness.called == []


async def test_each_part_of_a_job_is_a_separate_trial() -> None:
    harness = GateHarness(grant_seconds=0.02)
    harness.set_breaker("direct", "half_open", trials=(f"{TRIAL}:a",), trials_max=1)

    async def part(name: str) -> str:
        return await harness.gate.run(
            make_job(), platform="tiktok", subject=SUBJECT, call=harness.succeed, part=name
        )

    ended = await asyncio.gather(*map(part, "abc"), return_exceptions=True)
    assert [isinstance(each, ClipmillError) for each in ended] == [False, True, True]
    assert [each.trial for each in harness.attempts()] == [f"{TRIAL}:a"]
    requested = {each.trial for each in harness.trial_requests() if not each.withdrawn}
    assert requested == {f"{TRIAL}:b", f"{TRIAL}:c"}


async def test_records_of_different_parts_have_different_ids() -> None:
    harness = GateHarness()
    for name in ("a", "b", "b", ""):
        await harness.gate.run(
            make_job(), platform="tiktok", subject=SUBJECT, call=harness.succeed, part=name
        )
    ids = [header(each, "ce_id") for each in harness.sent]
    assert len(set(ids)) == 3
    assert ids[1] == ids[2]


async def start_requests(harness: GateHarness, count: int) -> list[asyncio.Task[str]]:
    """Start so many requests; return their tasks once the first trial is requested."""
    running = [asyncio.create_task(harness.run(request_id=f"r{number}")) for number in range(count)]
    await harness.first_trial_request()
    await asyncio.sleep(0)
    return running


async def test_trial_requests_in_flight_are_bounded() -> None:
    harness = GateHarness()
    harness.set_breaker("direct", "half_open", trials_max=5)
    running = await start_requests(harness, 100)
    assert len(harness.trial_requests()) == REQUESTS_IN_FLIGHT
    harness.set_breaker(
        "direct", "half_open", trials=("r0:extract:1", "r1:extract:1"), trials_max=5
    )
    assert len(await asyncio.gather(*running[:2])) == 2
    await asyncio.sleep(0)
    assert len(harness.trial_requests()) == REQUESTS_IN_FLIGHT + 2
    harness.set_breaker("direct", "closed")
    assert set(await asyncio.gather(*running)) == {"by direct"}
    assert len(harness.trial_requests()) == REQUESTS_IN_FLIGHT + 2


async def test_queue_timeout_before_the_trial_request_rejects_without_withdrawal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker_client, "QUEUE_SECONDS", 0.01)
    harness = GateHarness()
    harness.set_breaker("direct", "half_open", trials_max=5)
    running = await start_requests(harness, REQUESTS_IN_FLIGHT + 1)
    assert not (await raised_error(running[-1])).permitted
    assert [each.withdrawn for each in harness.trial_requests()] == [False] * REQUESTS_IN_FLIGHT
    harness.set_breaker("direct", "closed")
    await asyncio.gather(*running[:-1])


async def test_call_does_not_queue_for_a_trial_when_another_egress_permits() -> None:
    harness = GateHarness("a", "b")
    harness.set_breaker(PREFERRED, "open", until=NOW)
    running = await start_requests(harness, REQUESTS_IN_FLIGHT + 1)
    assert await running[-1] == f"by {OTHER}"
    harness.set_breaker(PREFERRED, "closed")
    await asyncio.gather(*running)


async def test_state_watcher_is_removed_after_a_rejection() -> None:
    harness = GateHarness(grant_seconds=0.02)
    harness.set_breaker("direct", "open", until=NOW)
    await raised_error(harness.run())
    assert harness.context.shared_state._watchers == {}


# One breaker is not closed, another is


async def test_subject_makes_the_trials_of_its_preferred_egress() -> None:
    harness = GateHarness("a", "b")
    harness.set_breaker(PREFERRED, "open", until=NOW)
    running = asyncio.create_task(harness.run())
    await harness.first_trial_request()
    harness.set_breaker(PREFERRED, "half_open", trials=(TRIAL,), trials_max=5)
    await running
    assert (harness.called, harness.attempts()[0].trial) == ([PREFERRED], TRIAL)


async def test_trials_of_others_are_not_awaited_when_another_egress_permits() -> None:
    harness = GateHarness("a", "b")
    harness.set_breaker(PREFERRED, "open", until=NOW)
    running = asyncio.create_task(harness.run())
    await harness.first_trial_request()
    harness.set_breaker(PREFERRED, "half_open", trials=("x",), trials_max=1)
    await running
    await harness.run()
    assert harness.called == [OTHER, OTHER]
    assert [each.withdrawn for each in harness.trial_requests()] == [False, True]


async def test_no_trial_is_requested_for_an_egress_that_is_not_preferred() -> None:
    harness = GateHarness("a", "b")
    harness.set_breaker(OTHER, "open", until=NOW)
    await harness.run()
    assert (harness.called, harness.trial_requests()) == ([PREFERRED], [])


async def test_egress_whose_breaker_closes_during_the_wait_is_used() -> None:
    harness = GateHarness("a", "b", grant_seconds=0.05)
    harness.set_breaker(PREFERRED, "open", until=NOW)
    harness.set_breaker(OTHER, "open", until=LATER)
    running = asyncio.create_task(harness.run())
    await harness.first_trial_request()
    harness.set_breaker(OTHER, "closed")
    await running
    assert harness.called == [OTHER]


# Rate limiter and bulkhead


class BlockingCall:
    """A call that blocks until ``end`` is set."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.end = asyncio.Event()

    async def __call__(self, egress: str) -> str:
        self.started.append(egress)
        await self.end.wait()
        return f"by {egress}"


async def start_calls(
    harness: GateHarness, call: BlockingCall, *request_ids: str
) -> list[asyncio.Task[str]]:
    tasks = []
    for name in request_ids:
        tasks.append(asyncio.create_task(harness.run(call, request_id=name)))
        await asyncio.sleep(0.002)
    return tasks


async def test_bulkhead_bounds_concurrent_calls() -> None:
    harness, call = GateHarness(extract_tasks=2), BlockingCall()
    tasks = await start_calls(harness, call, *"abc")
    assert len(call.started) == 2
    call.end.set()
    assert await asyncio.gather(*tasks) == ["by direct"] * 3


async def test_breaker_opening_during_the_bulkhead_wait_rejects_the_call() -> None:
    harness, call = GateHarness(extract_tasks=1), BlockingCall()
    first, second = await start_calls(harness, call, *"ab")
    harness.set_breaker("direct", "open", until=LATER, reason=ErrorCode.NETWORK_SERVER)
    call.end.set()
    await first
    error = await raised_error(second)
    assert (error.code, error.permitted) == (ErrorCode.NETWORK_SERVER, False)
    assert len(call.started) == 1


async def test_breaker_opening_during_the_bulkhead_wait_diverts_to_another_egress() -> None:
    harness, call = GateHarness("a", "b", extract_tasks=1), BlockingCall()
    first, second = await start_calls(harness, call, *"ab")
    harness.set_breaker(PREFERRED, "open", until=LATER)
    call.end.set()
    await asyncio.gather(first, second)
    assert call.started == [PREFERRED, OTHER]


async def test_request_cancelled_in_the_bulkhead_queue_is_never_attempted() -> None:
    harness, call = GateHarness(extract_tasks=1), BlockingCall()
    (first,) = await start_calls(harness, call, "a")

    async def waits() -> None:
        job = make_job(request_id="b")
        with cancellable(job, harness.context.shared_state):
            await harness.gate.run(job, platform="tiktok", subject=SUBJECT, call=call)

    second = asyncio.create_task(waits())
    await asyncio.sleep(0.002)
    harness.context.shared_state.put(f"{CANCEL}b", b"{}")
    with pytest.raises(RequestCancelledError):
        await second
    call.end.set()
    await first
    assert len(call.started) == 1


async def test_deadline_in_the_bulkhead_queue_expires_the_request() -> None:
    harness, call = GateHarness(extract_tasks=1), BlockingCall()
    (first,) = await start_calls(harness, call, "a")
    error = await raised_error(harness.run(deadline=NOW + timedelta(milliseconds=20)))
    assert (error.code, harness.called) == (ErrorCode.REQUEST_EXPIRED, [])
    call.end.set()
    await first


async def test_rate_wait_above_maximum_is_rejected_with_retry_after() -> None:
    harness = GateHarness(patience_seconds=5)
    harness.set_rate("direct", 0.1)
    await harness.run()
    error = await raised_error(harness.run())
    assert (error.code, error.permitted) == (ErrorCode.RATE_LIMIT_API, False)
    assert error.endpoint == Endpoint(platform="tiktok", operation="extract", egress="direct")
    assert error.retry_after == pytest.approx(10, abs=0.2)
    assert "tiktok:extract:direct" in error.message
    assert len(harness.attempts()) == len(harness.called) == 1
    labels = {"platform": "tiktok", "operation": "extract", "egress": "direct"}
    assert (REGISTRY.get_sample_value("clipmill_rate_postponed_total", labels) or 0) >= 1


async def test_requeued_request_is_admitted_before_new_ones() -> None:
    harness = GateHarness(patience_seconds=0.3)
    harness.set_rate("direct", 5)
    await harness.run()
    for _ in range(3):
        with pytest.raises(ClipmillError):
            await asyncio.gather(*(harness.run() for _ in range(3)))
    parked = Parking(times=1, since=NOW, code=ErrorCode.RATE_LIMIT_API)
    await asyncio.sleep(0.3)
    assert (await raised_error(harness.run())).retry_after
    assert await harness.run(parked=parked) == "by direct"


async def test_rate_limited_egress_diverts_to_another() -> None:
    harness = GateHarness("a", "b", patience_seconds=5)
    harness.set_rate(PREFERRED, 0.1)
    for _ in range(3):
        await harness.run()
    assert harness.called == [PREFERRED, OTHER, OTHER]


async def test_cost_is_taken_from_the_rate() -> None:
    harness = GateHarness(patience_seconds=5, default_requests_per_second=1)
    need = Cost(requests=30, is_list=True)
    await harness.gate.run(
        make_job(), platform="tiktok", subject=SUBJECT, call=harness.succeed, cost=need
    )
    assert (await raised_error(harness.run())).retry_after == pytest.approx(30, abs=0.5)


async def test_trial_rejected_by_the_rate_limiter_is_withdrawn() -> None:
    harness = GateHarness(patience_seconds=5)
    harness.set_rate("direct", 1, until=LATER)
    harness.set_breaker("direct", "half_open", trials=(TRIAL,), trials_max=1)
    assert not (await raised_error(harness.run())).permitted
    assert [(each.trial, each.withdrawn) for each in harness.trial_requests()] == [(TRIAL, True)]


# Plug-ins


class RecordingPlugin:
    """A plug-in that records the hooks that are called."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def on_request_start(self, request: PluginRequest) -> None:
        self.seen.append(("start", request.egress))

    def on_request_complete(self, request: PluginRequest, _seconds: float) -> None:
        self.seen.append(("complete", request.operation))

    def on_request_error(
        self, _request: PluginRequest, error: BaseException, _seconds: float
    ) -> None:
        self.seen.append(("error", type(error)))


async def test_plugins_observe_attempts_and_nothing_else() -> None:
    recorder = RecordingPlugin()
    harness = GateHarness(plugins=Plugins([Plugin("notes", recorder)]))
    await harness.run()
    await raised_error(harness.run(failing_call(ErrorCode.NETWORK_DNS)))
    harness.set_breaker("direct", "open", until=LATER)
    await raised_error(harness.run())
    assert recorder.seen == [
        ("start", "direct"),
        ("complete", "extract"),
        ("start", "direct"),
        ("error", ClipmillError),
    ]


async def test_stage_slot_is_released_during_the_call() -> None:
    harness, slots, answer = GateHarness(), ConcurrencyLimit(1), asyncio.Event()

    async def call(_egress: str) -> str:
        await answer.wait()
        return "page"

    async def ask() -> str:
        async with slots.acquire():
            return await harness.run(call)

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    async with asyncio.timeout(5), slots.acquire():
        answer.set()
    assert await asking == "page"
