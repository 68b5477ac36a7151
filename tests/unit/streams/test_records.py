from typing import Any

import pytest

from tests.unit.streams.records import incoming


def test_position_names_the_record() -> None:
    assert incoming(offset=9, partition=2).position == "requests-2-9"


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        pytest.param([], None, id="missing"),
        pytest.param([("b", b"x")], None, id="another one"),
        pytest.param([("a", b"x")], "x", id="there"),
        pytest.param([("a", b"x"), ("a", b"y")], "y", id="the last one counts"),
        pytest.param([("a", "häh".encode())], "häh", id="UTF-8"),
        pytest.param([("a", b"\xff\xfe")], None, id="not UTF-8"),
        pytest.param([("a", None)], None, id="null"),
        pytest.param([("a", b"")], "", id="empty"),
    ],
)
def test_header(headers: list[Any], text: str | None) -> None:
    assert incoming(headers=headers).header("a") == text
