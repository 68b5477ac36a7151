from typing import Any

import msgspec
import pytest
from hypothesis import given

from agents.ledger.request_state import (
    UNREADABLE,
    Decided,
    Open,
    RequestState,
    is_open,
    read_row,
    restore_job,
    snapshot_of,
    with_changes,
)
from schemas.codec import encode
from schemas.commands import OptionChanges
from schemas.request import Options
from tests.unit.agents.builders import FUTURE, make_attempt, make_job, member_job
from tests.unit.schemas.bodies import bodies

options = bodies(Options).map(lambda body: msgspec.convert(body, Options))
changes = bodies(OptionChanges).map(lambda body: msgspec.convert(body, OptionChanges))

ROWS: list[RequestState] = [
    Open(job=snapshot_of(make_job()), expires_at=1.5),
    Decided(record_id="audit-0-1-1767225600000", expires_at=1.5),
    Decided(record_id="audit-0-1-1767225600000", expires_at=1.5, job=snapshot_of(member_job())),
]


@pytest.mark.parametrize("row", ROWS)
def test_is_open_does_not_decode_the_row(row: RequestState) -> None:
    assert is_open(encode(row)) == isinstance(row, Open)


def test_malformed_row_is_not_open() -> None:
    assert not any(map(is_open, (b"", b"{}", b"\xff", b'{"kind":"opened"')))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_rows_survive_serialization(row: RequestState) -> None:
    assert read_row(encode(row)) == row


def test_missing_row_is_none_and_an_undecodable_one_is_decided() -> None:
    assert read_row(None) is None
    for row in (b"", b"\xff", b"{}", b'{"kind":"other","expires_at":1}'):
        assert read_row(row) == UNREADABLE


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"action": "info", "priority": 9, "retry_of": "r0"},
        {"options": Options(quality="480p", max_bytes=7, degrade=False)},
        {"attributes": {"a": "b"}},
        {"batch": member_job().batch},
    ],
    ids=repr,
)
def test_job_survives_a_snapshot(fields: dict[str, Any]) -> None:
    job = make_job(**fields)
    assert restore_job("r1", snapshot_of(job)) == job


def test_snapshot_drops_processing_state() -> None:
    job = make_job(
        attempts=(make_attempt(),), timings={"a": 1.0}, deadline=FUTURE, avoid_egress=("a",)
    )
    assert restore_job("r1", snapshot_of(job)) == make_job()


def test_default_options_are_not_in_the_row() -> None:
    row = Open(job=snapshot_of(make_job()), expires_at=1.5)
    assert b"options" not in encode(row)
    assert read_row(encode(row)) == row


def test_typical_row_is_small() -> None:
    assert len(encode(Open(job=snapshot_of(make_job()), expires_at=1_764_018_968.123456))) < 270


@given(options)
def test_any_options_survive_a_snapshot(given_options: Options) -> None:
    job = make_job(options=given_options)
    assert restore_job("r1", snapshot_of(job)) == job


@given(options, changes)
def test_any_changes_yield_valid_options(before: Options, requested: OptionChanges) -> None:
    after = with_changes(before, requested)
    requested_fields = msgspec.to_builtins(requested)
    assert msgspec.to_builtins(after) == msgspec.to_builtins(before) | requested_fields
    assert with_changes(before, OptionChanges()) == before
