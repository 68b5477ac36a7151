from typing import Any

import msgspec
import pytest
from hypothesis import given

from agents.ledger.request_state import (
    UNREADABLE,
    Decided,
    Open,
    RequestState,
    changed,
    essence_of,
    is_open,
    job_of,
    read_row,
)
from schemas.codec import encode
from schemas.commands import OptionChanges
from schemas.request import Options
from tests.unit.agents.builders import FUTURE, make_attempt, make_job, member_job
from tests.unit.schemas.bodies import bodies

options = bodies(Options).map(lambda body: msgspec.convert(body, Options))
changes = bodies(OptionChanges).map(lambda body: msgspec.convert(body, OptionChanges))

ROWS: list[RequestState] = [
    Open(job=essence_of(make_job()), expires_at=1.5),
    Decided(record_id="audit-0-1-1767225600000", expires_at=1.5),
    Decided(record_id="audit-0-1-1767225600000", expires_at=1.5, job=essence_of(member_job())),
]


@pytest.mark.parametrize("row", ROWS)
def test_an_open_row_is_known_without_decoding_it(row: RequestState) -> None:
    assert is_open(encode(row)) == isinstance(row, Open)


def test_what_is_no_row_is_not_open() -> None:
    assert not any(map(is_open, (b"", b"{}", b"\xff", b'{"kind":"opened"')))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_rows_are_read_as_they_were_written(row: RequestState) -> None:
    assert read_row(encode(row)) == row


def test_no_row_is_nothing_and_an_unreadable_one_is_decided() -> None:
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
def test_a_job_is_the_same_again(fields: dict[str, Any]) -> None:
    job = make_job(**fields)
    assert job_of("r1", essence_of(job)) == job


def test_what_happened_on_its_way_is_not_kept() -> None:
    job = make_job(
        attempts=(make_attempt(),), timings={"a": 1.0}, deadline=FUTURE, avoid_egress=("a",)
    )
    assert job_of("r1", essence_of(job)) == make_job()


def test_a_usual_row_is_small() -> None:
    assert len(encode(Open(job=essence_of(make_job()), expires_at=1_764_018_968.123456))) < 270


@given(options)
def test_any_options_are_kept(given_options: Options) -> None:
    job = make_job(options=given_options)
    assert job_of("r1", essence_of(job)) == job


@given(options, changes)
def test_any_change_makes_good_options(before: Options, wanted: OptionChanges) -> None:
    after = changed(before, wanted)
    asked = msgspec.to_builtins(wanted)
    assert msgspec.to_builtins(after) == msgspec.to_builtins(before) | asked
    assert changed(before, OptionChanges()) == before
