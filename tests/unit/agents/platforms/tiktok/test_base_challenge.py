import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.tiktok.base import MARKER, PAGE_CHARACTERS_MAX, read_challenge
from tests.standin.pages import challenge_page, solves_challenge

SEED = hashlib.sha256(b"seed").digest()
DIGEST = hashlib.sha256(SEED + b"7").digest()


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


TASK: dict[str, Any] = {"v": {"a": encoded(SEED), "b": 1_710_296_246, "c": encoded(DIGEST)}}


def page(task: object = TASK, **changes: str | None) -> str:
    classes = {"wci": "_wafchallengeid", "cs": encoded(json.dumps(task).encode()).rstrip("=")}
    attributes = {**classes, "rci": "waforiginalreid", "rs": "abc", **changes}
    marks = "".join(
        f'<p id="{name}" class="{value}"></p>' for name, value in attributes.items() if value
    )
    return f"<html><body> {MARKER} {marks}<script>let x = 1 < 2</script></body></html>"


def test_challenge_is_read_and_answered() -> None:
    found = read_challenge(page())
    assert found is not None
    assert (found.seed, found.digest) == (SEED, DIGEST)
    assert (found.cookie, found.extra_cookies) == ("_wafchallengeid", {"waforiginalreid": "abc"})
    answer = json.loads(base64.b64decode(found.cookie_value(7)))
    assert answer == {**TASK, "d": encoded(b"7")}


@pytest.mark.parametrize("second", [True, False])
@pytest.mark.parametrize("solution", [0, 500, 1_000_000])
def test_answer_is_accepted_by_the_site(solution: int, second: bool) -> None:
    text = b"".join(map(bytes, challenge_page(solution, second=second).chunks())).decode()
    found = read_challenge(text)
    assert found is not None
    assert solves_challenge(found.cookie_value(solution), solution)
    assert found.extra_cookies == ({"waforiginalreid": "r1"} if second else {})


@pytest.mark.parametrize(
    "webpage",
    [
        page().replace('id="cs" class=', "id='cs'\n class="),
        page().replace('<p id="wci"', '<input type="hidden" id="wci"'),
        page(rci=None),
        page(rs=None),
        page() + page(wci="another", cs="xx"),
    ],
    ids=["other quotes", "other tag", "no second name", "no second value", "repeated"],
)
def test_other_markup_of_a_challenge_is_read(webpage: str) -> None:
    found = read_challenge(webpage)
    assert found is not None
    assert (found.cookie, found.seed) == ("_wafchallengeid", SEED)


@pytest.mark.parametrize(
    "webpage",
    [
        "",
        MARKER,
        page(cs=None),
        page(wci=None),
        page(cs="not base64!"),
        page(cs="\u00e4"),
        page([]),
        page("text"),
        page({}),
        page({"v": []}),
        page({"v": {"a": encoded(SEED)}}),
        page({"v": {"a": 1, "c": encoded(DIGEST)}}),
        page({"v": {"a": "\u00e4", "c": encoded(DIGEST)}}),
        page(cs=encoded(b"[" * 8_000)),
        page() + " " * PAGE_CHARACTERS_MAX,
        "<p " * 10_000,
    ],
    ids=lambda text: text[-30:],
)
def test_page_without_a_challenge_is_none(webpage: str) -> None:
    assert read_challenge(webpage) is None


@given(st.text() | st.text("<>p idclas=\"'cs \n"))
def test_any_text_is_read_without_an_error(webpage: str) -> None:
    assert read_challenge(webpage) is None
