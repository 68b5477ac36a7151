"""The gate: what goes through, by which way out, and what the monitor hears of it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.access import breaker_client
from agents.access.breaker_client import REQUESTS_IN_FLIGHT, by_preference
from agents.access.gate import NO_PLUGINS, OutboundGate
from agents.access.rate_limits import Cost
from agents.pipeline.cancellation import RequestCancelledError, cancellable
from agents.plugins import Plugin, PluginRequest, Plugins
from schemas.attempts import NetworkAttempt, TrialRequest
from schemas.codec import decode, encode
from schemas.errors import ClipmillError, ErrorCode, Place
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


class Kit:
    """A gate, the signals that it reads and a monitor that does what a test wants."""

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
        self.went: list[str] = []
        self.gate = OutboundGate(
            "extract",
            egresses or ("direct",),
            self.context,
            clock=lambda: NOW,
            timer=self.timer,
            plugins=plugins,
            grant_seconds=grant_seconds,
        )

    def breaker(self, egress: str, state: Any, **changes: Any) -> None:
        fields = {"platform": "tiktok", "operation": "extract", "egress": egress, "since": NOW}
        value = encode(BreakerState(**{**fields, **changes}, state=state))
        self.context.signals.put(f"{BREAKER}tiktok:extract:{egress}", value)

    async def run(self, call: Callable[[str], Awaitable[str]] | None = None, **job: Any) -> str:
        return await self.gate.run(
            make_job(**job), platform="tiktok", subject=SUBJECT, call=call or self.go
        )

    def slowed(self, egress: str, per_second: float, **changes: Any) -> None:
        state = RateState(
            platform="tiktok",
            operation="extract",
            egress=egress,
            requests_per_second=per_second,
            since=NOW,
            **changes,
        )
        self.context.signals.put(f"{RATE}{state.name}", encode(state))

    async def go(self, egress: str) -> str:
        self.went.append(egress)
        self.timer.now += 1.5
        await asyncio.sleep(0)
        return f"by {egress}"

    async def asked(self) -> TrialRequest:
        """The trial that is asked for, as soon as it is."""
        async with asyncio.timeout(5):
            while not self.requests():  # noqa: ASYNC110 - what is sent sets no event
                await asyncio.sleep(0)
        return self.requests()[0]

    def requests(self) -> list[TrialRequest]:
        return [decode(each.value or b"", TrialRequest) for each in self._of("trial")]

    def attempts(self) -> list[NetworkAttempt]:
        return [decode(each.value or b"", NetworkAttempt) for each in self._of("attempt")]

    def _of(self, what: str) -> list[Outgoing]:
        kind = f"io.clipmill.network.{what}.v1"
        return [each for each in self.sent if header(each, "ce_type") == kind]


def fails(code: ErrorCode) -> Callable[[str], Awaitable[str]]:
    async def call(_egress: str) -> str:
        await asyncio.sleep(0)
        raise ClipmillError(code, "it is so")

    return call


async def refused(awaitable: Awaitable[str]) -> ClipmillError:
    with pytest.raises(ClipmillError) as caught:
        await awaitable
    return caught.value


# What the monitor hears


async def test_a_success_is_told() -> None:
    kit = Kit()
    assert await kit.run() == "by direct"
    (sent,) = kit.sent
    assert (sent.topic, sent.key) == (ATTEMPTS, b"tiktok:extract:direct")
    assert header(sent, "ce_source") == "/clipmill/extraction"
    assert header(sent, "ce_correlationid") == "r1"
    assert (header(sent, "traceparent") or "")[3:35] == TRACE_ID
    assert kit.attempts() == [
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
async def test_a_failure_is_told_when_it_says_something_about_the_platform(
    code: ErrorCode,
) -> None:
    kit = Kit()
    error = await refused(kit.run(fails(code)))
    assert (error.code, error.permitted) == (code, True)
    assert error.place == Place(platform="tiktok", operation="extract", egress="direct")
    told = code.startswith(("network.", "rate_limit.", "content.", "platform."))
    assert [each.code for each in kit.attempts()] == ([code] if told else [])


@pytest.mark.parametrize(
    ("egresses", "details"), [((), {}), (("a",), {"egress": "a"})], ids=["direct", "a proxy"]
)
async def test_a_failure_names_its_proxy(
    egresses: tuple[str, ...], details: dict[str, str]
) -> None:
    error = await refused(Kit(*egresses).run(fails(ErrorCode.SYSTEM_CONFIG)))
    assert error.details == details


async def test_an_attempt_reports_the_cuts_of_the_rate_that_it_was_made_at() -> None:
    kit = Kit()
    kit.slowed("direct", 10.0, cuts=3)

    async def cut_meanwhile(_egress: str) -> str:
        kit.slowed("direct", 5.0, cuts=4)
        return "it is so"

    await kit.run(cut_meanwhile)
    await kit.run()
    assert [each.cuts for each in kit.attempts()] == [3, 4]


async def test_neither_bugs_nor_cancelled_work_is_told() -> None:
    kit = Kit()

    async def bug(_egress: str) -> str:
        raise KeyError

    async def cancelled(_egress: str) -> str:
        raise asyncio.CancelledError

    with pytest.raises(KeyError):
        await kit.run(bug)
    with pytest.raises(asyncio.CancelledError):
        await kit.run(cancelled)
    assert kit.sent == []


@pytest.mark.parametrize(("step", "retry"), [("extraction", True), ("download", False)])
async def test_a_retry_is_one_of_the_same_step(step: str, *, retry: bool) -> None:
    kit = Kit()
    await kit.run(attempts=(make_attempt(step=step),))
    assert kit.attempts()[0].retry is retry


async def test_copies_have_one_id_and_further_tries_another() -> None:
    kit = Kit()
    for attempts in ((), (), (make_attempt(),)):
        await kit.run(attempts=attempts)
    first, copy, second = (header(each, "ce_id") for each in kit.sent)
    assert first == copy != second


# Which way out


async def test_a_subject_stays_with_its_way_out() -> None:
    kit = Kit("a", "b")
    for number in range(5):
        await kit.run(request_id=f"r{number}")
    assert kit.went == [PREFERRED] * 5


async def test_what_is_to_be_avoided_is_avoided_unless_all_are() -> None:
    kit = Kit("a", "b")
    await kit.run(avoid_egress=(PREFERRED,))
    await kit.run(avoid_egress=(OTHER, PREFERRED))
    assert kit.went == [OTHER, PREFERRED]


@pytest.mark.parametrize("state", ["open", "forced_open"])
async def test_an_open_breaker_leads_to_another_way_out(state: str) -> None:
    kit = Kit("a", "b")
    kit.breaker(PREFERRED, state, until=LATER)
    await kit.run()
    assert kit.went == [OTHER]
    assert kit.requests() == []


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff"])
async def test_a_state_that_nobody_can_read_holds_nothing_back(value: bytes) -> None:
    kit = Kit()
    kit.context.signals.put(f"{BREAKER}tiktok:extract:direct", value)
    assert await kit.run() == "by direct"


# Not permitted


async def test_an_open_breaker_lets_nothing_through() -> None:
    kit = Kit()
    kit.breaker("direct", "open", until=LATER, reason=ErrorCode.PLATFORM_CHANGED)
    counted = NOT_PERMITTED.labels("tiktok", "extract")._value.get()
    error = await refused(kit.run())
    assert (error.code, error.permitted) == (ErrorCode.PLATFORM_CHANGED, False)
    assert error.place == Place(platform="tiktok", operation="extract", egress="direct")
    assert "tiktok:extract:direct" in error.message
    assert (kit.went, kit.sent) == ([], [])
    name, labels = "clipmill_not_permitted_total", {"platform": "tiktok", "operation": "extract"}
    assert REGISTRY.get_sample_value(name, labels) == counted + 1


async def test_of_several_open_breakers_the_next_to_open_is_named() -> None:
    kit = Kit("a", "b")
    kit.breaker(PREFERRED, "open", until=LATER + timedelta(seconds=1))
    kit.breaker(OTHER, "open", until=LATER)
    error = await refused(kit.run())
    assert error.place is not None
    assert error.place.egress == OTHER


# Trials


@pytest.mark.parametrize("state", ["open", "half_open"])
async def test_a_granted_trial_is_made_and_told_of_as_such(state: str) -> None:
    kit = Kit()
    kit.breaker("direct", state, until=NOW, trials_max=5)
    running = asyncio.create_task(kit.run())
    request = await kit.asked()
    assert (request.trial, request.name, request.at) == (TRIAL, "tiktok:extract:direct", NOW)
    assert kit.sent[0].key == b"tiktok:extract:direct"
    assert kit.went == []
    kit.breaker("direct", "half_open", trials=("x", TRIAL), trials_max=5)
    assert await running == "by direct"
    assert [each.trial for each in kit.attempts()] == [TRIAL]


@pytest.mark.parametrize("code", [ErrorCode.NETWORK_SERVER, ErrorCode.SYSTEM_DISK_FULL])
async def test_a_trial_that_fails_is_told_of_whatever_it_says(code: ErrorCode) -> None:
    kit = Kit()
    kit.breaker("direct", "half_open", trials=(TRIAL,), trials_max=1)
    await refused(kit.run(fails(code)))
    assert [(each.trial, each.code) for each in kit.attempts()] == [(TRIAL, code)]
    assert kit.requests() == []


async def test_a_breaker_that_closes_meanwhile_lets_through_as_usual() -> None:
    kit = Kit()
    kit.breaker("direct", "half_open", trials=("x",), trials_max=1)
    running = asyncio.create_task(kit.run())
    await kit.asked()
    kit.breaker("direct", "closed")
    assert await running == "by direct"
    assert [each.trial for each in kit.attempts()] == [None]


async def test_a_breaker_that_opens_again_meanwhile_lets_nothing_through() -> None:
    kit = Kit()
    kit.breaker("direct", "half_open", trials=("x",), trials_max=1)
    running = asyncio.create_task(kit.run())
    await kit.asked()
    kit.breaker("direct", "half_open", trials=("x", "y"), trials_max=1)
    await asyncio.sleep(0)
    assert not running.done()
    kit.breaker("direct", "open", until=LATER)
    assert not (await refused(running)).permitted
    assert kit.went == []


@pytest.mark.parametrize("state", ["open", "half_open"])
async def test_without_an_answer_nothing_is_tried(state: str) -> None:
    kit = Kit(grant_seconds=0.02)
    kit.breaker("direct", state, until=NOW, trials_max=5)
    assert not (await refused(kit.run())).permitted
    assert (kit.went, kit.attempts()) == ([], [])
    assert [each.withdrawn for each in kit.requests()] == [False, True]
    assert len({header(each, "ce_id") for each in kit.sent}) == 2


async def test_who_was_granted_a_trial_takes_nothing_back() -> None:
    kit = Kit()
    kit.breaker("direct", "open", until=NOW)
    running = asyncio.create_task(kit.run())
    trial = (await kit.asked()).trial
    kit.breaker("direct", "half_open", trials=(trial,), trials_max=5)
    await running
    assert [each.withdrawn for each in kit.requests()] == [False]


async def end_of(kit: Kit, call: Callable[[str], Awaitable[str]]) -> type[BaseException]:
    """How it ends when it is cancelled after a moment, if it has not ended before."""
    running = asyncio.create_task(kit.run(call))
    await asyncio.sleep(0.005)
    running.cancel()
    (found,) = await asyncio.gather(running, return_exceptions=True)
    assert isinstance(found, BaseException)
    return type(found)


async def bug(_egress: str) -> str:
    await asyncio.sleep(0)
    raise KeyError


async def endless(_egress: str) -> str:
    return await asyncio.Event().wait() and ""


@pytest.mark.parametrize(
    ("call", "end"), [(endless, asyncio.CancelledError), (bug, KeyError)], ids=["cancelled", "bug"]
)
async def test_a_trial_that_tells_nothing_is_given_back_at_once(
    call: Callable[[str], Awaitable[str]], end: type[BaseException]
) -> None:
    kit = Kit()
    kit.breaker("direct", "half_open", trials=(TRIAL,), trials_max=1)
    assert await end_of(kit, call) is end
    assert kit.attempts() == []
    assert [(each.trial, each.withdrawn) for each in kit.requests()] == [(TRIAL, True)]


async def test_who_is_cancelled_while_asking_takes_it_back() -> None:
    kit = Kit()
    kit.breaker("direct", "half_open", trials=("x",), trials_max=1)
    assert await end_of(kit, kit.go) is asyncio.CancelledError
    assert [each.withdrawn for each in kit.requests()] == [False, True]


async def test_who_is_cancelled_while_waiting_for_a_turn_gives_the_trial_back() -> None:
    kit, call = Kit(extract_tasks=1), Slow()
    (first,) = await begin(kit, call, "a")
    kit.breaker("direct", "half_open", trials=(TRIAL,), trials_max=1)
    assert await end_of(kit, kit.go) is asyncio.CancelledError
    assert [(each.trial, each.withdrawn) for each in kit.requests()] == [(TRIAL, True)]
    call.end.set()
    await first
    assert kit.went == []


async def test_each_part_of_a_job_is_a_trial_of_its_own() -> None:
    kit = Kit(grant_seconds=0.02)
    kit.breaker("direct", "half_open", trials=(f"{TRIAL}:a",), trials_max=1)

    async def part(name: str) -> str:
        return await kit.gate.run(
            make_job(), platform="tiktok", subject=SUBJECT, call=kit.go, part=name
        )

    ended = await asyncio.gather(*map(part, "abc"), return_exceptions=True)
    assert [isinstance(each, ClipmillError) for each in ended] == [False, True, True]
    assert [each.trial for each in kit.attempts()] == [f"{TRIAL}:a"]
    asked = {each.trial for each in kit.requests() if not each.withdrawn}
    assert asked == {f"{TRIAL}:b", f"{TRIAL}:c"}


async def test_records_of_several_parts_have_several_ids() -> None:
    kit = Kit()
    for name in ("a", "b", "b", ""):
        await kit.gate.run(make_job(), platform="tiktok", subject=SUBJECT, call=kit.go, part=name)
    ids = [header(each, "ce_id") for each in kit.sent]
    assert len(set(ids)) == 3
    assert ids[1] == ids[2]


async def parked(kit: Kit, count: int) -> list[asyncio.Task[str]]:
    """Attempts of many requests that have begun."""
    running = [asyncio.create_task(kit.run(request_id=f"r{number}")) for number in range(count)]
    await kit.asked()
    await asyncio.sleep(0)
    return running


async def test_few_trial_requests_are_in_flight_however_many_events_wait() -> None:
    kit = Kit()
    kit.breaker("direct", "half_open", trials_max=5)
    running = await parked(kit, 100)
    assert len(kit.requests()) == REQUESTS_IN_FLIGHT
    kit.breaker("direct", "half_open", trials=("r0:extract:1", "r1:extract:1"), trials_max=5)
    assert len(await asyncio.gather(*running[:2])) == 2
    await asyncio.sleep(0)
    assert len(kit.requests()) == REQUESTS_IN_FLIGHT + 2
    kit.breaker("direct", "closed")
    assert set(await asyncio.gather(*running)) == {"by direct"}
    assert len(kit.requests()) == REQUESTS_IN_FLIGHT + 2


async def test_an_event_that_could_not_ask_is_refused_and_withdraws_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker_client, "QUEUE_SECONDS", 0.01)
    kit = Kit()
    kit.breaker("direct", "half_open", trials_max=5)
    running = await parked(kit, REQUESTS_IN_FLIGHT + 1)
    assert not (await refused(running[-1])).permitted
    assert [each.withdrawn for each in kit.requests()] == [False] * REQUESTS_IN_FLIGHT
    kit.breaker("direct", "closed")
    await asyncio.gather(*running[:-1])


async def test_with_another_way_open_an_event_does_not_queue_for_a_trial() -> None:
    kit = Kit("a", "b")
    kit.breaker(PREFERRED, "open", until=NOW)
    running = await parked(kit, REQUESTS_IN_FLIGHT + 1)
    assert await running[-1] == f"by {OTHER}"
    kit.breaker(PREFERRED, "closed")
    await asyncio.gather(*running)


async def test_nobody_watches_afterwards() -> None:
    kit = Kit(grant_seconds=0.02)
    kit.breaker("direct", "open", until=NOW)
    await refused(kit.run())
    assert kit.context.signals._watchers == {}


# A way out that is shut while another one is open


async def test_who_prefers_a_shut_way_out_makes_its_trials() -> None:
    kit = Kit("a", "b")
    kit.breaker(PREFERRED, "open", until=NOW)
    running = asyncio.create_task(kit.run())
    await kit.asked()
    kit.breaker(PREFERRED, "half_open", trials=(TRIAL,), trials_max=5)
    await running
    assert (kit.went, kit.attempts()[0].trial) == ([PREFERRED], TRIAL)


async def test_nobody_waits_for_the_trials_of_others_when_another_way_is_open() -> None:
    kit = Kit("a", "b")
    kit.breaker(PREFERRED, "open", until=NOW)
    running = asyncio.create_task(kit.run())
    await kit.asked()
    kit.breaker(PREFERRED, "half_open", trials=("x",), trials_max=1)
    await running
    await kit.run()
    assert kit.went == [OTHER, OTHER]
    assert [each.withdrawn for each in kit.requests()] == [False, True]


async def test_nobody_tries_a_way_that_is_not_the_preferred_one() -> None:
    kit = Kit("a", "b")
    kit.breaker(OTHER, "open", until=NOW)
    await kit.run()
    assert (kit.went, kit.requests()) == ([PREFERRED], [])


async def test_a_way_that_opens_during_the_wait_is_taken() -> None:
    kit = Kit("a", "b", grant_seconds=0.05)
    kit.breaker(PREFERRED, "open", until=NOW)
    kit.breaker(OTHER, "open", until=LATER)
    running = asyncio.create_task(kit.run())
    await kit.asked()
    kit.breaker(OTHER, "closed")
    await running
    assert kit.went == [OTHER]


# Turns


class Slow:
    """A call that ends when a test says so."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.end = asyncio.Event()

    async def __call__(self, egress: str) -> str:
        self.began.append(egress)
        await self.end.wait()
        return f"by {egress}"


async def begin(kit: Kit, call: Slow, *request_ids: str) -> list[asyncio.Task[str]]:
    tasks = []
    for name in request_ids:
        tasks.append(asyncio.create_task(kit.run(call, request_id=name)))
        await asyncio.sleep(0.002)
    return tasks


async def test_so_many_at_a_time() -> None:
    kit, call = Kit(extract_tasks=2), Slow()
    tasks = await begin(kit, call, *"abc")
    assert len(call.began) == 2
    call.end.set()
    assert await asyncio.gather(*tasks) == ["by direct"] * 3


async def test_a_breaker_that_opens_while_one_waits_holds_it_back() -> None:
    kit, call = Kit(extract_tasks=1), Slow()
    first, second = await begin(kit, call, *"ab")
    kit.breaker("direct", "open", until=LATER, reason=ErrorCode.NETWORK_SERVER)
    call.end.set()
    await first
    error = await refused(second)
    assert (error.code, error.permitted) == (ErrorCode.NETWORK_SERVER, False)
    assert len(call.began) == 1


async def test_a_way_that_shuts_while_one_waits_is_left_for_another() -> None:
    kit, call = Kit("a", "b", extract_tasks=1), Slow()
    first, second = await begin(kit, call, *"ab")
    kit.breaker(PREFERRED, "open", until=LATER)
    call.end.set()
    await asyncio.gather(first, second)
    assert call.began == [PREFERRED, OTHER]


async def test_who_is_taken_back_while_waiting_is_never_tried() -> None:
    kit, call = Kit(extract_tasks=1), Slow()
    (first,) = await begin(kit, call, "a")

    async def waits() -> None:
        job = make_job(request_id="b")
        with cancellable(job, kit.context.signals):
            await kit.gate.run(job, platform="tiktok", subject=SUBJECT, call=call)

    second = asyncio.create_task(waits())
    await asyncio.sleep(0.002)
    kit.context.signals.put(f"{CANCEL}b", b"{}")
    with pytest.raises(RequestCancelledError):
        await second
    call.end.set()
    await first
    assert len(call.began) == 1


async def test_who_waits_until_the_deadline_has_expired() -> None:
    kit, call = Kit(extract_tasks=1), Slow()
    (first,) = await begin(kit, call, "a")
    error = await refused(kit.run(deadline=NOW + timedelta(milliseconds=20)))
    assert (error.code, kit.went) == (ErrorCode.REQUEST_EXPIRED, [])
    call.end.set()
    await first


async def test_a_turn_that_is_far_off_is_waited_for_outside_and_costs_nothing() -> None:
    kit = Kit(patience_seconds=5)
    kit.slowed("direct", 0.1)
    await kit.run()
    error = await refused(kit.run())
    assert (error.code, error.permitted) == (ErrorCode.RATE_LIMIT_API, False)
    assert error.place == Place(platform="tiktok", operation="extract", egress="direct")
    assert error.retry_after == pytest.approx(10, abs=0.2)
    assert "tiktok:extract:direct" in error.message
    assert len(kit.attempts()) == len(kit.went) == 1
    labels = {"platform": "tiktok", "operation": "extract", "egress": "direct"}
    assert (REGISTRY.get_sample_value("clipmill_rate_postponed_total", labels) or 0) >= 1


async def test_who_comes_back_does_not_begin_at_the_end_again() -> None:
    kit = Kit(patience_seconds=0.3)
    kit.slowed("direct", 5)
    await kit.run()
    for _ in range(3):
        with pytest.raises(ClipmillError):
            await asyncio.gather(*(kit.run() for _ in range(3)))
    parked = Parking(times=1, since=NOW, code=ErrorCode.RATE_LIMIT_API)
    await asyncio.sleep(0.3)
    assert (await refused(kit.run())).retry_after
    assert await kit.run(parked=parked) == "by direct"


async def test_a_way_whose_turn_is_far_off_is_left_for_another() -> None:
    kit = Kit("a", "b", patience_seconds=5)
    kit.slowed(PREFERRED, 0.1)
    for _ in range(3):
        await kit.run()
    assert kit.went == [PREFERRED, OTHER, OTHER]


async def test_what_it_needs_of_its_turn_is_taken() -> None:
    kit = Kit(patience_seconds=5, default_requests_per_second=1)
    need = Cost(requests=30, is_list=True)
    await kit.gate.run(make_job(), platform="tiktok", subject=SUBJECT, call=kit.go, need=need)
    assert (await refused(kit.run())).retry_after == pytest.approx(30, abs=0.5)


async def test_a_trial_that_is_not_made_is_given_back() -> None:
    kit = Kit(patience_seconds=5)
    kit.slowed("direct", 1, until=LATER)
    kit.breaker("direct", "half_open", trials=(TRIAL,), trials_max=1)
    assert not (await refused(kit.run())).permitted
    assert [(each.trial, each.withdrawn) for each in kit.requests()] == [(TRIAL, True)]


# Plug-ins


class Notes:
    """A plug-in that remembers."""

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


async def test_plugins_are_told_of_what_is_tried_and_of_nothing_else() -> None:
    notes = Notes()
    kit = Kit(plugins=Plugins([Plugin("notes", notes)]))
    await kit.run()
    await refused(kit.run(fails(ErrorCode.NETWORK_DNS)))
    kit.breaker("direct", "open", until=LATER)
    await refused(kit.run())
    assert notes.seen == [
        ("start", "direct"),
        ("complete", "extract"),
        ("start", "direct"),
        ("error", ClipmillError),
    ]


async def test_who_waits_for_the_network_holds_up_nobody_of_the_stage() -> None:
    kit, slots, answer = Kit(), ConcurrencyLimit(1), asyncio.Event()

    async def call(_egress: str) -> str:
        await answer.wait()
        return "page"

    async def ask() -> str:
        async with slots.taken():
            return await kit.run(call)

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    async with asyncio.timeout(5), slots.taken():
        answer.set()
    assert await asking == "page"
