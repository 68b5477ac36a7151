"""The fast reader of the post's data against yt-dlp's: the same result for any page."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp import YoutubeDL
from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE

from agents.platforms.tiktok.page import DETAIL, TikTokIE, read_post_data
from tests.standin import video_id
from tests.standin.links import Issue
from tests.standin.pages import post_page
from tests.standin.posts import post_for

SCOPE = "__DEFAULT_SCOPE__"
ID = 'id="__UNIVERSAL_DATA_FOR_REHYDRATION__"'
TAG = f'<script {ID} type="application/json">'
END = "</script>"
PAGE = b"".join(map(bytes, post_page(post_for(video_id()), Issue(0)).chunks())).decode()
DOWNLOADER = YoutubeDL({"quiet": True, "no_warnings": True}, auto_init=False)
OURS, STOCK = TikTokIE(DOWNLOADER), StockTikTokIE(DOWNLOADER)


def page(text: str, tag: str = TAG, end: str = END) -> str:
    return f"<html><script>var a = 1</script>{tag}{text}{end}<p>}}</p></html>"


def document(detail: Any = 1, **more: Any) -> str:
    return json.dumps({SCOPE: {"webapp.app-context": {}, DETAIL: detail, **more}})


def observed(extractor: Any, webpage: str) -> tuple[Any, ...]:
    """Return what the extractor uses: whether there is data, and the post's detail."""
    try:
        data = extractor._get_universal_data(webpage, "1")
    except Exception as error:  # noqa: BLE001 - both must fail alike
        return (type(error), str(error))
    # The text distinguishes numbers that compare equal.
    return bool(data), DETAIL in data, repr(data.get(DETAIL))


def is_same(webpage: str) -> bool:
    return observed(OURS, webpage) == observed(STOCK, webpage)


def test_page_of_a_post_is_read_by_the_fast_reader() -> None:
    found = read_post_data(PAGE)
    assert found is not None
    assert found == {DETAIL: STOCK._get_universal_data(PAGE, "1")[DETAIL]}
    assert found[DETAIL]["itemInfo"]["itemStruct"]["id"] == video_id()


USUAL: dict[str, tuple[str, Any]] = {
    "object": (
        page(document({"a": [1, 2.5, None, True, "é\u2028"]})),
        {"a": [1, 2.5, None, True, "é\u2028"]},
    ),
    "null": (page(document(None)), None),
    "duplicate key, the last one counts": (page(f'{{"{SCOPE}":{{"{DETAIL}":1,"{DETAIL}":2}}}}'), 2),
    "duplicate scope, the last one counts": (
        page(f'{{"{SCOPE}":{{"{DETAIL}":1}},"{SCOPE}":{{"{DETAIL}":2}}}}'),
        2,
    ),
    "key in a text": (page(document(3, text=f'"{DETAIL}":4')), 3),
    "key deeper": (page(document(3, deeper={DETAIL: 4, SCOPE: {DETAIL: 5}})), 3),
    "key before the scope": (page(f'{{"{DETAIL}":4,"{SCOPE}":{{"{DETAIL}":3}}}}'), 3),
    "escaped key": (page(f'{{"{SCOPE}":{{"webapp\\u002evideo-detail":3}}}}'), 3),
    "too large a number elsewhere": (page(f'{{"a":1e400,"{SCOPE}":{{"{DETAIL}":3}}}}'), 3),
    "white space": (page(f' {{ "{SCOPE}" : {{ "{DETAIL}" : 3 }} }} \n').replace("> {", ">{"), 3),
    "another page after it": (page(document(3)) + page(document(4)), 3),
    "attributes": (page(document(3), f"<script {ID} nonce='x'>"), 3),
    "whole numbers": (
        page(document([0, 2**63, 2**64, -(2**63), 10**30])),
        [0, 2**63, 2**64, -(2**63), 10**30],
    ),
}


@pytest.mark.parametrize(("webpage", "detail"), USUAL.values(), ids=USUAL)
def test_usual_pages_are_read_like_the_stock_extractor(webpage: str, detail: Any) -> None:
    assert read_post_data(webpage) == {DETAIL: detail}
    assert is_same(webpage)


UNUSUAL: dict[str, str] = {
    "empty": "",
    "no script": "<html></html>",
    "truncated in the data": page(document(3))[:-40],
    "truncated before the end": PAGE[: PAGE.index(END, PAGE.index(ID)) - 1],
    "truncated in the tag": page(document(3))[:60],
    "unterminated tag": f"<script {ID} ",
    "other tag": page(document(3), f"<div {ID}>"),
    "other position of the id": page(document(3), f'<script type="application/json" {ID}>'),
    "tag in capitals": page(document(3), f"<SCRIPT {ID}>"),
    "id in a text before": f"<script>'{ID}'</script>" + page(document(3)),
    "id in a comment before": f"<!-- {TAG} -->" + page(document(3)),
    "id in an attribute": f"<p title='{TAG}'>" + page(document(3)),
    "empty element before": page("", TAG) + page(document(3)),
    "white space before": page("\n" + document(3)),
    "unusual white space before": page("\u00a0" + document(3)),
    "broken element before": page("{broken", TAG) + page(document(3)),
    "end in a text": page(document("</script>")),
    "end in a text before": page(f'{{"a":"</script>","{SCOPE}":{{"{DETAIL}":3}}}}'),
    "text after the data": page(document(3) + "; var b = {}"),
    "second object after it": page(document(3) + document(4)),
    "no scope": page(f'{{"{DETAIL}":3}}'),
    "no detail": page(f'{{"{SCOPE}":{{"a":1}}}}'),
    "empty scope": page(f'{{"{SCOPE}":{{}}}}'),
    "scope is a list": page(f'{{"{SCOPE}":[{{"{DETAIL}":3}}]}}'),
    "scope is null": page(f'{{"{SCOPE}":null}}'),
    "scope was null": page(f'{{"{SCOPE}":null,"{SCOPE}":{{"{DETAIL}":3}}}}'),
    "detail was in the first scope": page(f'{{"{SCOPE}":{{"{DETAIL}":3}},"{SCOPE}":{{"a":1}}}}'),
    "data is a list": page(f"[{document(3)}]"),
    "data is empty": page("{}"),
    "not a number": page(document(float("nan"))),
    "infinity elsewhere": page(document(3, more=float("inf"))),
    "too large a number": page(f'{{"{SCOPE}":{{"{DETAIL}":1e400}}}}'),
    "control character in a text": page(document("\x01").replace("\\u0001", "\x01")),
    "control character elsewhere": page(document(3, more="\t").replace("\\t", "\t")),
    "lone surrogate escape": page(document("\ud83d")),
    "lone surrogate": page(document("x").replace("x", "\ud83d")),
    "bad escape": page(document("x").replace("x", "\\q")),
    "bad escape elsewhere": page(document(3, more="x").replace("x", "\\q")),
    "comma at the end": page(document([1]).replace("1]", "1,]")),
    "leading zero": page(f'{{"{SCOPE}":{{"{DETAIL}":01}}}}'),
    "byte order mark": page("\ufeff" + document(3)),
    "deep": page(f'{{"a":{"[" * 9_000}{"]" * 9_000},"{SCOPE}":{{"{DETAIL}":3}}}}'),
    "deep detail": page(f'{{"{SCOPE}":{{"{DETAIL}":{"[" * 9_000}{"]" * 9_000}}}}}'),
}


@pytest.mark.parametrize("webpage", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_pages_are_left_to_the_stock_extractor(webpage: str) -> None:
    assert read_post_data(webpage) is None
    assert is_same(webpage)


KEYS = st.sampled_from([SCOPE, DETAIL, "a", f'"{DETAIL}":9', END, ID, "}", "é", "\ud83d", "\x01"])
LEAVES = (
    *(st.none(), st.booleans(), st.integers(-(2**70), 2**70), KEYS),
    *(st.floats(), st.text(max_size=5), st.just(10**40)),
)
JSON = st.recursive(
    st.one_of(*LEAVES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
FRAGMENTS = st.sampled_from(
    [
        *(TAG, END, ID, "<script ", ">", "{", "}", "[", "]", ",", ":", '"', "\\", " ", "\n"),
        *(f'"{DETAIL}":', f'"{SCOPE}":', '{"a":1}', "1", "-", "1e999", "null", "NaN", "<!--"),
        *("\x00", "\u00a0", "\\u", "\\ud83d", "\\/", "0", "é"),
    ]
)


@st.composite
def pages(draw: Callable[..., Any]) -> str:
    scope = draw(st.dictionaries(KEYS, JSON, max_size=4) | JSON)
    if isinstance(scope, dict) and draw(st.booleans()):
        scope = {**scope, DETAIL: draw(JSON)}
    data = draw(st.dictionaries(KEYS, JSON, max_size=3)) | {SCOPE: scope}
    text = json.dumps(data, ensure_ascii=draw(st.booleans()))
    return page(text.replace("/", draw(st.sampled_from(["/", "\\u002F"]))))


@given(pages())
def test_any_data_is_read_like_the_stock_extractor(webpage: str) -> None:
    assert is_same(webpage)


@given(st.data())
def test_corrupt_pages_are_read_like_the_stock_extractor(data: st.DataObject) -> None:
    webpage = data.draw(pages() | st.just(page(document({"statusCode": 0}, more=["x", 1.5]))))
    for _ in range(data.draw(st.integers(1, 4))):
        first, second = sorted(data.draw(st.integers(0, len(webpage))) for _ in range(2))
        piece = data.draw(FRAGMENTS | st.just("") | st.just(webpage[first:second]))
        kept_from = data.draw(st.sampled_from([first, second]))
        webpage = webpage[:first] + piece + webpage[kept_from:]
    assert is_same(webpage)


@given(st.lists(FRAGMENTS, max_size=20))
def test_concatenated_fragments_are_read_like_the_stock_extractor(fragments: list[str]) -> None:
    assert is_same("".join(fragments))


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_every_number_is_read_like_the_stock_extractor(number: float) -> None:
    webpage = page(document(number))
    assert read_post_data(webpage) is not None
    assert is_same(webpage)


MEGABYTES = 4
HOSTILE = {
    "tags": TAG,
    "open tags": f"<script {ID} ",
    "starts of tags": "<script ",
    "objects": TAG + "{",
    "ids": ID,
    "ends": END,
    "brackets": "[",
    "braces": '{"a":',
    "quotes": '"',
    "backslashes": "\\",
    "keys": f'"{DETAIL}":1,',
    "scopes": f'"{SCOPE}":{{"{DETAIL}":1}},',
    "digits": "1",
    "spaces": " ",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("start", ["", TAG, TAG + "{", TAG + '{"a":', TAG + '{"a":"'])
def test_reading_time_is_linear_in_the_page_length(start: str, piece: str) -> None:
    webpage = start + piece * (MEGABYTES * 1_000_000 // len(piece)) + "}" + END
    started = time.perf_counter()
    read_post_data(webpage)
    # Quadratic time would take minutes.
    assert time.perf_counter() - started < 1


def test_oversized_number_elsewhere_is_the_known_difference() -> None:
    webpage = page(f'{{"a":{"1" * 5_000},"{SCOPE}":{{"{DETAIL}":3}}}}')
    assert read_post_data(webpage) == {DETAIL: 3}
    assert STOCK._get_universal_data(webpage, "1") == {}
