import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accounts.cookie_formats import format_line, parse_line, read_export
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import LATER, SECRET, cookie

EDITOR: dict[str, Any] = {
    "domain": ".tiktok.com",
    "expirationDate": LATER,
    "hostOnly": False,
    "httpOnly": True,
    "name": "sessionid",
    "path": "/",
    "sameSite": "no_restriction",
    "secure": True,
    "session": False,
    "storeId": None,
    "value": SECRET,
}
"""An entry as exported by Cookie-Editor and EditThisCookie."""

SESSION = cookie(expires_at=None)
HOST_ONLY = Cookie(name="sessionid", value=SECRET, domain="www.tiktok.com", expires_at=LATER)

READ: dict[str, tuple[Any, Cookie]] = {
    "Cookie-Editor": ([EDITOR], cookie()),
    "a fraction of a second": (
        [EDITOR | {"expirationDate": LATER + 0.5}],
        cookie(expires_at=4e9 + 0.5),
    ),
    "milliseconds": ([EDITOR | {"expirationDate": LATER * 1000}], cookie()),
    "a session": ([EDITOR | {"session": True}], SESSION),
    "no expiry": ([{k: v for k, v in EDITOR.items() if k != "expirationDate"}], SESSION),
    "an expiry out of range": ([EDITOR | {"expirationDate": 10**400}], SESSION),
    "an invalid expiry": ([EDITOR | {"expirationDate": "soon"}], SESSION),
    "minus one, of Playwright": (
        {"cookies": [EDITOR | {"expirationDate": None, "expires": -1}], "origins": []},
        SESSION,
    ),
    "Selenium": ([EDITOR | {"expirationDate": None, "expiry": int(LATER)}], cookie()),
    "a domain without its dot": ([EDITOR | {"domain": "tiktok.com"}], cookie()),
    "host-only": ([EDITOR | {"domain": "www.tiktok.com", "hostOnly": True}], HOST_ONLY),
    "a single object": (EDITOR, cookie()),
    "no path": ([EDITOR | {"path": None}], cookie()),
}


@pytest.mark.parametrize(("export", "expected"), READ.values(), ids=READ)
def test_export_is_read(export: Any, expected: Cookie) -> None:
    lines = read_export(json.dumps(export))
    assert lines is not None
    (line,) = lines
    assert (line.cookie, line.issue, line.http_only) == (expected, None, True)


@pytest.mark.parametrize("around", ["\ufeff{}", " \n{}\n\n", "{}"])
def test_text_around_an_export_is_ignored(around: str) -> None:
    lines = read_export(around.replace("{}", json.dumps([EDITOR], indent=4)))
    assert lines is not None
    assert [line.cookie for line in lines] == [cookie()]


ODD: dict[str, tuple[Any, str]] = {
    "a number": (7, "is not an object"),
    "a list": ([EDITOR], "is not an object"),
    "no name": ({"value": SECRET, "domain": ".tiktok.com"}, "has no name"),
    "no value": (EDITOR | {"value": None}, "has no value"),
    "a number as value": (EDITOR | {"value": 7}, "has no value"),
    "no domain": ({"name": "n", "value": SECRET}, "has no domain"),
    "a name as domain": (EDITOR | {"domain": "localhost", "hostOnly": True}, "has a character"),
    "a line feed": (EDITOR | {"value": f"a\n{SECRET}"}, "has a character"),
    "a tab": (EDITOR | {"name": "a\tb"}, "has a character"),
    "a replacement character": (EDITOR | {"path": "/\ufffd"}, "has a character"),
}


@pytest.mark.parametrize(("entry", "issue"), ODD.values(), ids=ODD)
def test_malformed_entry_does_not_affect_the_others(entry: Any, issue: str) -> None:
    lines = read_export(json.dumps([EDITOR, entry, EDITOR]))
    assert lines is not None
    assert [line.cookie for line in lines] == [cookie(), None, cookie()]
    assert lines[1].number == 2
    assert (lines[1].issue or "").startswith(issue)
    assert SECRET not in f"{lines[1]!r}"
    written = format_line(lines[1])
    assert parse_line(1, written).issue is None
    assert "\n" not in written


@pytest.mark.parametrize(
    "text", ["", "nothing", "[", '[{"a"', "7", '"text"', "[1] and more", "{]", "[" * 100_000]
)
def test_other_text_is_no_export(text: str) -> None:
    assert read_export(text) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(EDITOR)), inner),
    max_leaves=8,
)


@given(values)
def test_any_json_is_read(value: Any) -> None:
    for line in read_export(json.dumps(value)) or []:
        assert (line.cookie is None) is (line.issue is not None)
        assert parse_line(1, format_line(line)).issue is None
