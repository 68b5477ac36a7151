from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.tracing.context import (
    STATE_CHARACTERS_MAX,
    TraceContext,
    bounded_state,
    parent_request,
    parse_context,
    parse_origin,
    request_root,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
HEX = "0123456789abcdef"


@pytest.mark.parametrize(
    ("parent", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-03", 3),
        (f"00-{TRACE}-{SPAN}-ff", 3),
        (f"01-{TRACE}-{SPAN}-03", 1),
        (f"cc-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-has", 1),
    ],
)
def test_valid_traceparent_is_read_with_its_known_flags(parent: str, flags: int) -> None:
    assert parse_context(parent, None) == TraceContext(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{chr(0x661) * 32}-{SPAN}-01",
        "0" * 100_000,
    ],
)
def test_invalid_traceparent_is_none(parent: str | None) -> None:
    assert parse_context(parent, "a=1") is None


@pytest.mark.parametrize(
    "state",
    [
        "congo=t61rcWkgMzE",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "rojo=1 , congo=2,\tthird=3",
        "rojo=1,,congo=2",
        "fw529a3039@dt=FfSURBZRMwMTAAcAA",
        "1a-_*/=!~ x",
        ",".join(f"k{number}=v" for number in range(32)),
    ],
)
def test_valid_tracestate_is_kept_unchanged(state: str) -> None:
    assert bounded_state(state) == state


@pytest.mark.parametrize(
    "state",
    [
        None,
        "",
        ",",
        "novalue",
        "=1",
        "Upper=1",
        "a=1,a=2",
        "a=b=c",
        "a=trailing,b=\x01",
        "a=\u00e4",
        "a=1\r\nx: y",
        f"{'k' * 257}=1",
        f"k={'v' * 257}",
        ",".join(f"k{number}=v" for number in range(33)),
    ],
)
def test_invalid_tracestate_is_dropped_and_traceparent_kept(state: str | None) -> None:
    assert parse_context(f"00-{TRACE}-{SPAN}-01", state) == TraceContext(TRACE, SPAN, 1)


def test_long_tracestate_drops_long_members_first_then_the_last_ones() -> None:
    long = f"long={'x' * 200}"
    short = [f"k{number}={'y' * 60}" for number in range(9)]
    found = bounded_state(",".join([short[0], long, *short[1:]])).split(",")
    assert found == short[: len(found)]
    assert len(",".join(found)) <= STATE_CHARACTERS_MAX < len(",".join(short[: len(found) + 1]))


@given(st.none() | st.text() | st.text(alphabet=HEX + "-", max_size=60), st.none() | st.text())
@example(f"00-{TRACE}-{SPAN}-01", "a=1")
def test_any_text_is_a_valid_context_or_none(parent: str | None, state: str | None) -> None:
    found = parse_context(parent, state)
    if found is not None:
        again = f"00-{found.trace_id}-{found.span_id}-{found.flags:02x}"
        assert parse_context(again, found.state) == found
        assert len(found.state) <= STATE_CHARACTERS_MAX


members = st.tuples(
    st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    st.text(alphabet="abcXYZ0189 !~", min_size=1, max_size=250).filter(lambda t: t[-1] != " "),
)


@given(st.lists(members, max_size=32, unique_by=lambda member: member[0]))
def test_any_state_keeps_the_order_of_its_members(found: list[tuple[str, str]]) -> None:
    whole = [f"{name}={value}" for name, value in found]
    kept = [each for each in bounded_state(",".join(whole)).split(",") if each]
    assert kept == [each for each in whole if each in kept]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{TRACE}-{SPAN}", (TRACE, SPAN)),
        (f"{TRACE}-{'0' * 16}", (TRACE, "")),
        (f"{'0' * 32}-{SPAN}", None),
        (f"{TRACE}-{SPAN}-01", None),
        ("", None),
        (None, None),
    ],
)
def test_request_origin_is_parsed_or_none(text: str | None, found: Any) -> None:
    assert parse_origin(text) == found


def test_request_root_is_deterministic() -> None:
    root = request_root(TRACE, "r1")
    assert root.trace_id == TRACE
    assert root == request_root(TRACE, "r1") != request_root(TRACE, "r2")


@pytest.mark.parametrize(
    ("request_id", "parent"), [("b1/3", "b1"), ("r1/replay-1", "r1"), ("b1/3/replay-2", "b1/3")]
)
def test_members_and_replays_have_their_own_traces(request_id: str, parent: str) -> None:
    root = request_root(TRACE, request_id)
    assert root.trace_id not in (TRACE, request_root(TRACE, f"{request_id}0").trace_id)
    assert parent_request(request_id) == parent
