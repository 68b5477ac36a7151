import asyncio
from typing import Any

import pytest

from agents.pipeline import events
from agents.pipeline.events import audit
from agents.pipeline.results import DETAIL_CHARACTERS_MAX, completed
from agents.pipeline.step import Complete, Forward, StepOutcome, bug_handler, step_handler
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import ExtractedVideo, ValidatedVideo
from schemas.results import Completed, Expired
from streams.cluster.shared_state import SharedState
from streams.observability.metrics import REGISTRY
from streams.records import Effect, Incoming, TableWrite
from streams.topics import ERRORS, EXTRACTED, VALIDATED
from tests.unit.agents.builders import (
    ENGINE,
    FUTURE,
    INFO,
    PAST,
    URL,
    VIDEO,
    body_of,
    dead_letters,
    event_record,
    extracted,
    failure,
    header,
    make_attempt,
    make_record,
    only_record,
    outcome,
    sent_to,
    transitions,
    validated,
    writes,
)

ROW = TableWrite("t", "k", b"row")


async def forwarding_work(event: ValidatedVideo) -> StepOutcome:
    await asyncio.sleep(0)
    return Forward(
        extracted(request_id=event.job.request_id), "extracted", (ROW,), {"cache": "hit"}
    )


async def completing_work(event: ValidatedVideo) -> StepOutcome:
    await asyncio.sleep(0)
    return Complete(completed(event.job, INFO, cache="hit", engine=ENGINE), (ROW,))


def failing_work(error: Exception) -> Any:
    async def work(_event: ValidatedVideo) -> StepOutcome:
        await asyncio.sleep(0)
        raise error

    return work


async def effects_of(work: Any, record: Incoming) -> list[Effect]:
    return list(await step_handler("extraction", ValidatedVideo, work, SharedState())(record))


async def test_forward_publishes_the_next_event() -> None:
    record = event_record(validated(timings={"validation": 1.0}))
    effects = await effects_of(forwarding_work, record)
    assert writes(effects) == [ROW]
    event = body_of(only_record(effects, EXTRACTED), ExtractedVideo)
    assert set(event.job.timings) == {"validation", "extraction"}
    assert transitions(effects) == ["extracted"]
    assert header(effects[-1], "ce_causationid") == header(record, "ce_id")


async def test_table_writes_precede_records() -> None:
    assert (await effects_of(forwarding_work, event_record(validated())))[0] == ROW


async def test_complete_proposes_the_outcome() -> None:
    effects = await effects_of(completing_work, event_record(validated(attempts=(make_attempt(),))))
    found = outcome(effects)
    assert isinstance(found, Completed)
    assert (found.attempts, len(found.recovery)) == (2, 1)
    assert set(found.timings) == {"extraction"}
    assert writes(effects) == [ROW]
    assert not sent_to(effects, EXTRACTED)


def duration_count(action: str, cache: str, outcome: str) -> float:
    labels = {"step": "extraction", "action": action, "cache": cache, "outcome": outcome}
    return REGISTRY.get_sample_value("clipmill_step_duration_seconds_count", labels) or 0.0


@pytest.mark.parametrize(
    ("work", "labels"),
    [
        (forwarding_work, ("download", "miss", "passed")),
        (completing_work, ("download", "hit", "finished")),
        (failing_work(ClipmillError(ErrorCode.NETWORK_DNS, "no")), ("download", "", "failed")),
    ],
)
async def test_duration_is_counted_by_action_cache_and_outcome(
    work: Any, labels: tuple[str, str, str]
) -> None:
    before = duration_count(*labels)
    await effects_of(work, event_record(validated()))
    assert duration_count(*labels) == before + 1


def test_failure_counters_start_at_zero() -> None:
    step_handler("new", ValidatedVideo, forwarding_work, SharedState())
    for code in ErrorCode:
        labels = {"step": "new", "error_type": code}
        assert REGISTRY.get_sample_value("clipmill_failures_total", labels) == 0


async def test_timings_accumulate_over_attempts() -> None:
    event = validated(timings={"extraction": 100.0})
    found = outcome(await effects_of(completing_work, event_record(event)))
    assert 100.0 <= found.timings["extraction"] < 110.0


async def test_error_publishes_a_failure_with_the_event() -> None:
    event = validated(attempts=(make_attempt(),))
    error = ClipmillError(ErrorCode.NETWORK_DNS, "no such name", retry_after=3.0, host="h")
    effects = await effects_of(failing_work(error), event_record(event))
    found = failure(effects)
    assert (found.step, found.error.error_type) == ("extraction", ErrorCode.NETWORK_DNS)
    assert found.error.technical_details == {"reason": "no such name", "host": "h"}
    assert found.error.url == URL
    assert found.retry_after_seconds == 3.0
    assert events.restore_record(found) == event_record(event)
    assert found.job.attempts == event.job.attempts
    assert set(found.job.timings) == {"extraction"}
    assert only_record(effects, ERRORS).key == VIDEO.key.encode()
    assert len(effects) == 1


async def test_failure_of_a_record_without_a_key_is_keyed_by_request() -> None:
    record = event_record(validated())
    bare = make_record(record.value, topic=VALIDATED, key=None, headers=record.headers)
    effects = await effects_of(failing_work(ClipmillError(ErrorCode.NETWORK_DNS, "x")), bare)
    assert only_record(effects, ERRORS).key == b"r1"


async def test_error_details_are_bounded() -> None:
    error = ClipmillError(ErrorCode.NETWORK_DNS, "m" * 100_000, said="s" * 100_000)
    found = failure(await effects_of(failing_work(error), event_record(validated())))
    assert {len(value) for value in found.error.technical_details.values()} == {
        DETAIL_CHARACTERS_MAX
    }


async def test_past_deadline_expires_the_job_before_any_work() -> None:
    event = validated(deadline=PAST, attempts=(make_attempt(),), timings={"validation": 1.0})
    found = outcome(
        await effects_of(failing_work(AssertionError("was asked")), event_record(event))
    )
    assert isinstance(found, Expired)
    assert (found.attempts, found.timings) == (1, {"validation": 1.0})
    assert found.error.technical_details["deadline"] == PAST.isoformat()


async def test_future_deadline_does_not_expire_the_job() -> None:
    effects = await effects_of(forwarding_work, event_record(validated(deadline=FUTURE)))
    assert sent_to(effects, EXTRACTED)


async def test_bug_is_not_swallowed_by_the_step() -> None:
    with pytest.raises(ZeroDivisionError):
        await effects_of(failing_work(ZeroDivisionError()), event_record(validated()))


def test_bug_becomes_a_failure_with_its_traceback() -> None:
    on_bug = bug_handler("extraction", ValidatedVideo)
    found = failure(on_bug(event_record(validated()), _raised(ZeroDivisionError("at home"))))
    assert found.error.error_type is ErrorCode.INTERNAL_BUG
    assert "ZeroDivisionError: at home" in found.error.technical_details["traceback"]
    assert found.record.topic == "videos.validated"


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def test_bug_with_an_undecodable_record_is_dead_lettered() -> None:
    record = make_record(b"\xff", topic=VALIDATED)
    effects = bug_handler("extraction", ValidatedVideo)(record, ValueError("x"))
    assert [each.value for each in dead_letters(effects)] == [b"\xff"]
    assert len(effects) == 1


async def test_event_ids_are_stable_on_redelivery_and_differ_by_attempt_and_step() -> None:
    def ids(effects: list[Effect]) -> list[str | None]:
        return [header(each, "ce_id") for each in effects if each is not ROW]

    first = ids(await effects_of(forwarding_work, event_record(validated())))
    copy = ids(await effects_of(forwarding_work, event_record(validated(), offset=99)))
    retried = ids(
        await effects_of(forwarding_work, event_record(validated(attempts=(make_attempt(),))))
    )
    failed = ids(
        await effects_of(
            failing_work(ClipmillError(ErrorCode.NETWORK_DNS, "x")), event_record(validated())
        )
    )
    assert first == copy == ids(await effects_of(forwarding_work, event_record(validated())))
    everything = [*first, *retried, *failed]
    assert len(set(everything)) == len(everything)


def test_audit_ids_differ_by_transition() -> None:
    job = validated().job
    made = [audit(job, "s", transition, None) for transition in ("accepted", "failed")]
    assert len({header(each, "ce_id") for each in made}) == 2
