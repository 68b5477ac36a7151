from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.commands.agent import KINDS, NAME, UNKNOWN, Commands, on_bug, stage
from agents.platforms.registry import Platforms
from schemas.attempts import BreakerCommand
from schemas.audit import AuditRecord
from schemas.commands import Cancel, OptionChanges, Retry
from schemas.errors import ErrorCode
from schemas.results import Failed, Rejected
from schemas.signals import CancelSignal, IntakeSignal, RefreshSignal
from streams.observability.metrics import COMMANDS_TAKEN
from streams.records import Effect, Incoming, Outgoing
from streams.topics import ATTEMPTS, AUDIT, COMMANDS, SIGNALS
from tests.unit.agents.builders import (
    SHORT_URL,
    TRACE_ID,
    TRACEPARENT,
    URL,
    VIDEO,
    body_of,
    dead_letters,
    header,
    make_context,
    make_record,
    make_settings,
    only_record,
    opened_stage,
    outcome,
    request,
    sent_to,
)

NOW = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
STAGES = ("download", "extraction")


def command(**body: Any) -> Incoming:
    return request(body, topic=COMMANDS, headers=[("traceparent", TRACEPARENT.encode())])


async def effects_of(record: Incoming) -> Sequence[Effect]:
    return await Commands(Platforms.load(), STAGES, lambda: NOW).handle(record)


def command_count(name: str, outcome_label: str) -> float:
    value: float = COMMANDS_TAKEN.labels(name, outcome_label)._value.get()
    return value


def rejection(effects: Sequence[Effect]) -> Rejected:
    found = outcome(effects)
    assert isinstance(found, Rejected)
    assert found.error.error_type is ErrorCode.REQUEST_INVALID
    assert len(effects) == 1 + len(dead_letters(effects))
    return found


# Accepted commands


async def test_cancel_publishes_a_signal_and_an_audit_record() -> None:
    before = command_count("cancel", "taken")
    effects = await effects_of(command(command="cancel", request_id="b1/3", by="ann", id="c1"))
    signal, audit_record = only_record(effects, SIGNALS), only_record(effects, AUDIT)
    assert signal.key == b"cancel/b1/3"
    assert body_of(signal, CancelSignal) == CancelSignal(by="ann", at=NOW)
    entry = body_of(audit_record, AuditRecord)
    assert audit_record.key == b"b1/3"
    assert (entry.request_id, entry.step, entry.transition) == ("b1/3", NAME, "ordered")
    assert entry.command == Cancel(id="c1", request_id="b1/3", by="ann")
    assert (entry.at, len(effects)) == (NOW, 2)
    assert command_count("cancel", "taken") == before + 1


async def test_retry_is_sent_to_the_ledger_under_the_old_request_id() -> None:
    body = {"command": "retry", "request_id": "r1", "new_id": "n1", "options": {"quality": "480p"}}
    effects = await effects_of(command(**body, id="c1"))
    audit_record = only_record(effects, AUDIT)
    assert (audit_record.key, len(effects)) == (b"r1", 1)
    assert body_of(audit_record, AuditRecord).command == Retry(
        id="c1", new_id="n1", request_id="r1", options=OptionChanges(quality="480p")
    )


@pytest.mark.parametrize(
    ("given_ids", "own", "new"),
    [
        ({}, "commands-0-7-1767225600000", "commands-0-7-1767225600000"),
        ({"id": "c1"}, "c1", "c1"),
        ({"new_id": "n1"}, "commands-0-7-1767225600000", "n1"),
    ],
)
async def test_missing_ids_are_generated(given_ids: dict[str, str], own: str, new: str) -> None:
    effects = await effects_of(command(command="retry", request_id="r1", **given_ids))
    published = body_of(only_record(effects, AUDIT), AuditRecord).command
    assert isinstance(published, Retry)
    assert (published.id, published.new_id) == (own, new)


@pytest.mark.parametrize("video", [VIDEO.key, URL, f"{URL}?lang=en"])
async def test_refresh_accepts_a_video_key_or_link(video: str) -> None:
    effects = await effects_of(command(command="refresh", video=video, by="ann"))
    signal = only_record(effects, SIGNALS)
    assert (signal.key, len(effects)) == (f"refresh/{VIDEO.key}".encode(), 1)
    assert body_of(signal, RefreshSignal) == RefreshSignal(by="ann", at=NOW)


@pytest.mark.parametrize(("name", "action"), [("open_breaker", "open"), ("reset_breaker", "reset")])
@pytest.mark.parametrize("operation", ["resolve", "extract", "download"])
async def test_breaker_commands_are_sent_to_the_monitor(
    name: str, action: Any, operation: Any
) -> None:
    breaker = f"tiktok:{operation}:proxy-1"
    effects = await effects_of(command(command=name, breaker=breaker, by="ann"))
    sent = only_record(effects, ATTEMPTS)
    assert (sent.key, len(effects)) == (breaker.encode(), 1)
    assert body_of(sent, BreakerCommand) == BreakerCommand(
        platform="tiktok", operation=operation, egress="proxy-1", action=action, by="ann", at=NOW
    )


async def test_resume_stage_publishes_a_signal() -> None:
    effects = await effects_of(command(command="resume_stage", stage="download", by="ann"))
    signal = only_record(effects, SIGNALS)
    assert (signal.key, len(effects)) == (b"intake/download", 1)
    published = body_of(signal, IntakeSignal)
    assert (published.paused, published.by, published.at) == (False, "ann", NOW)


async def test_recorded_order_changes_nothing() -> None:
    assert await effects_of(command(command="record_order", order="submit", count=3)) == []


BODIES: list[dict[str, Any]] = [
    {"command": "cancel", "request_id": "r1"},
    {"command": "retry", "request_id": "r1"},
    {"command": "refresh", "video": VIDEO.key},
    {"command": "open_breaker", "breaker": "tiktok:extract:direct"},
    {"command": "reset_breaker", "breaker": "tiktok:extract:direct"},
    {"command": "resume_stage", "stage": "download"},
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body["command"])
async def test_redelivered_command_publishes_the_same_records(body: dict[str, Any]) -> None:
    runs = [await effects_of(command(**body)) for _ in range(2)]
    first, second = ([each for each in run if isinstance(each, Outgoing)] for run in runs)
    assert [(each.key, each.value) for each in first] == [(each.key, each.value) for each in second]
    ids = [header(each, "ce_id") for each in first]
    assert ids == [header(each, "ce_id") for each in second]
    assert len(set(ids)) == len(ids)
    assert {(header(each, "traceparent") or "")[3:35] for each in first} == {TRACE_ID}
    assert {header(each, "ce_source") for each in first} == {"/clipmill/commands"}


async def test_structured_event_is_accepted() -> None:
    event = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/me",
        "type": "any",
        "data": {"command": "cancel", "request_id": "r1"},
    }
    headers = [("content-type", b"application/cloudevents+json")]
    effects = await effects_of(request(event, topic=COMMANDS, headers=headers))
    assert only_record(effects, SIGNALS).key == b"cancel/r1"
    assert header(only_record(effects, SIGNALS), "ce_causationid") == "e1"


# Rejected commands


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"command": "explode", "request_id": "x"}, "$.command"),
        ({"request_id": "x"}, "$.command"),
        ({"command": "cancel", "request": "x"}, "$.request"),
        ({"command": "cancel"}, "$.request_id"),
        ({"command": "cancel", "request_id": ""}, "$.request_id"),
        ({"command": "cancel", "request_id": "x" * 177}, "$.request_id"),
        (
            {"command": "retry", "request_id": "x", "options": {"qualty": "480p"}},
            "$.options.qualty",
        ),
        ({"command": "retry", "request_id": "x", "new_id": "a/1"}, "$.new_id"),
        ({"command": "retry", "request_id": "x", "new_id": "x"}, "$.new_id"),
        ({"command": "refresh", "video": "nonsense"}, "$.video"),
        ({"command": "refresh", "video": ":1"}, "$.video"),
        ({"command": "refresh", "video": "tiktok:"}, "$.video"),
        ({"command": "refresh", "video": "https://example.org/1"}, "$.video"),
        ({"command": "refresh", "video": SHORT_URL}, "$.video"),
        ({"command": "open_breaker", "breaker": "everything"}, "$.breaker"),
        ({"command": "open_breaker", "breaker": "tiktok:fly:direct"}, "$.breaker"),
        ({"command": "open_breaker", "breaker": "nowhere:extract:direct"}, "$.breaker"),
        ({"command": "reset_breaker", "breaker": "tiktok:extract:"}, "$.breaker"),
        ({"command": "reset_breaker", "breaker": ":extract:direct"}, "$.breaker"),
        ({"command": "resume_stage", "stage": "nonsense"}, "$.stage"),
    ],
    ids=lambda value: repr(value)[:50],
)
async def test_invalid_command_is_rejected_under_its_id(body: dict[str, Any], field: str) -> None:
    found = rejection(await effects_of(command(id="c1", **body)))
    assert found.request_id == "c1"
    assert found.error.technical_details["field"] == field
    assert found.error.technical_details["reason"]
    known = body.get("command") in KINDS
    assert found.error.technical_details.get("command") == (body["command"] if known else None)


async def test_invalid_command_without_an_id_is_rejected_under_the_record_id() -> None:
    assert (
        rejection(await effects_of(command(command="explode"))).request_id
        == "commands-0-7-1767225600000"
    )


async def test_retry_with_the_id_of_its_request_is_rejected() -> None:
    before = command_count("retry", "refused")
    effects = await effects_of(command(command="retry", request_id="r1", id="r1"))
    assert rejection(effects).error.technical_details["field"] == "$.new_id"
    assert command_count("retry", "refused") == before + 1


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[" * 10_000, b"{"])
async def test_undecodable_command_is_rejected_and_dead_lettered(value: bytes | None) -> None:
    before = command_count(UNKNOWN, "refused")
    effects = await effects_of(make_record(value, topic=COMMANDS))
    assert rejection(effects).request_id == "commands-0-7-1767225600000"
    assert [each.value for each in dead_letters(effects)] == [value]
    assert command_count(UNKNOWN, "refused") == before + 1


@settings(max_examples=150, deadline=None)
@given(
    body=st.dictionaries(
        st.sampled_from(["command", "id", "request_id", "by", "video", "breaker", "stage", "x"]),
        st.text(max_size=12)
        | st.integers()
        | st.none()
        | st.sampled_from(["cancel", "retry", "refresh", "open_breaker", "a:extract:b", "://"]),
    )
)
async def test_any_command_is_executed_or_answered(body: dict[str, Any]) -> None:
    effects = await effects_of(command(**body))
    assert effects
    assert sent_to(effects, AUDIT) or sent_to(effects, SIGNALS) or sent_to(effects, ATTEMPTS)


def test_bug_is_answered_and_dead_lettered() -> None:
    record = command(command="cancel", request_id="r1", id="c1")
    effects = on_bug(record, RuntimeError("x"))
    found = outcome(effects)
    assert isinstance(found, Failed)
    assert (found.request_id, found.error.error_type) == ("c1", ErrorCode.INTERNAL_BUG)
    assert [each.value for each in dead_letters(effects)] == [record.value]


async def test_stage_consumes_commands() -> None:
    context, _ = make_context(make_settings())
    assert (stage.name, stage.sources) == ("commands", (COMMANDS,))
    async with opened_stage(stage, context) as handle:
        effects = await handle(command(command="resume_stage", stage="recovery"))
        assert only_record(effects, SIGNALS).key == b"intake/recovery"
        found = rejection(await handle(command(command="resume_stage", stage="nonsense")))
        assert "download" in found.error.user_message
