import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode
from schemas.request import Request
from streams.new_requests import (
    InputError,
    LineSplitter,
    NewRequest,
    RequestBuilder,
    RequestLine,
    new_id,
)
from streams.topics import REQUEST_BYTES_MAX


def build(*texts: str, **given: Any) -> list[NewRequest]:
    fields = given.pop("fields", {})
    builder = RequestBuilder("run", fields, **given)
    requests = [
        new
        for number, text in enumerate(texts, 1)
        for new in builder.add(RequestLine(f"line {number}", text))
    ]
    return [*requests, *builder.flush()]


def bodies(requests: list[NewRequest]) -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in requests]


def test_generated_ids_are_unique() -> None:
    assert len({new_id() for _ in range(100)}) == 100


def test_each_url_is_a_request_with_a_numbered_id() -> None:
    requests = build("https://a/1", "https://a/2", fields={"priority": 9})
    assert bodies(requests) == [
        {"priority": 9, "url": "https://a/1", "id": "run-1"},
        {"priority": 9, "url": "https://a/2", "id": "run-2"},
    ]
    assert [(each.id, each.url, each.members) for each in requests] == [
        ("run-1", "https://a/1", 0),
        ("run-2", "https://a/2", 0),
    ]


def test_single_request_has_the_id_without_number() -> None:
    assert [each.id for each in build("u", single=True)] == ["run"]


def test_same_lines_give_the_same_requests() -> None:
    lines = ("a", '{"url": "b"}', "c", "d")
    for batch in (None, 2):
        assert build(*lines, batch=batch) == build(*lines, batch=batch)


def test_urls_are_grouped_into_batches() -> None:
    requests = build(*"abcde", batch=2, fields={"action": "info"})
    assert [(each.id, each.members, each.url) for each in requests] == [
        ("run-1", 2, None),
        ("run-2", 2, None),
        ("run-3", 1, None),
    ]
    assert [each["urls"] for each in bodies(requests)] == [["a", "b"], ["c", "d"], ["e"]]
    assert {each["action"] for each in bodies(requests)} == {"info"}


def test_batch_does_not_exceed_the_request_size_limit() -> None:
    urls = ["https://a/" + "ä" * 1_000] * 1_000
    requests = build(*urls, batch=1_000, fields={"attributes": {"k": "v" * 1_000}})
    assert len(requests) > 1
    assert all(len(each.body) <= REQUEST_BYTES_MAX for each in requests)
    assert [url for each in bodies(requests) for url in each["urls"]] == urls


def test_line_may_be_a_request_in_json() -> None:
    line = {"id": "mine", "urls": ["a", "b"], "options": {"quality": "480p"}, "priority": 1}
    (new,) = build(json.dumps(line), fields={"options": {"quality": "720p", "codec": "h264"}})
    assert json.loads(new.body) == line | {"options": {"quality": "480p", "codec": "h264"}}
    assert (new.id, new.members) == ("mine", 2)


@pytest.mark.parametrize("line", ['{"url": "a"}', '{"url": "a", "id": null}'])
def test_json_request_without_id_gets_one(line: str) -> None:
    assert build("x", line)[1].id == "run-2"


def test_json_requests_are_not_batched() -> None:
    requests = build("a", '{"url": "b"}', "c", batch=2)
    assert [each.get("url") or each["urls"] for each in bodies(requests)] == ["b", ["a", "c"]]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", r"line 1: \$: not JSON"),
        ('{"url": 5}', r"line 1: \$\.url: "),
        ('{"url": "a", "quality": "best"}', r"line 1: \$\.quality: unknown field; allowed: "),
        ('{"url": "a", "options": {"quality": "4k"}}', r"line 1: \$\.options\.quality: "),
        ('{"url": "a", "options": 1}', r"line 1: \$\.options: "),
        ('{"url": "a", "id": "a/b"}', r"line 1: \$\.id: "),
        ("u" * REQUEST_BYTES_MAX, "line 1: .* bytes; the maximum is 1000000"),
    ],
)
def test_invalid_line_is_reported_with_the_validation_error(line: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        build(line)


def test_invalid_line_consumes_no_number() -> None:
    builder = RequestBuilder("run", {})
    with pytest.raises(InputError):
        [*builder.add(RequestLine("line 1", "{"))]
    assert [each.id for each in builder.add(RequestLine("line 1", "a"))] == ["run-1"]


def test_every_body_decodes_as_a_request() -> None:
    for new in build("a", '{"url": "b"}', "c", batch=1, fields={"options": {"limit": 3}}):
        assert decode(new.body, Request).options.limit == 3


def split(*blocks: bytes) -> list[RequestLine]:
    splitter = LineSplitter("list.txt")
    lines = [line for block in blocks for line in splitter.feed(block)]
    return [*lines, *splitter.flush()]


def test_blank_lines_and_comments_are_skipped_and_counted() -> None:
    text = b"# a list\n\n  https://a/1  \n\t# more\nhttps://a/2#part\r\nlast"
    assert split(text) == [
        ("list.txt, line 3", "https://a/1"),
        ("list.txt, line 5", "https://a/2#part"),
        ("list.txt, line 6", "last"),
    ]


def test_invisible_characters_are_stripped() -> None:
    lines = "\ufeffhttps://a\nb\u200b\n\ufeff\n\u200b# a comment\n\u00a0\ufeff{}\u3000\r\n\u2028"
    assert [line.text for line in split(lines.encode())] == ["https://a", "b", "{}"]


def test_shared_text_is_one_line() -> None:
    text = (
        "Look! https://vm.tiktok.com/ZMabc123/\u200b Shared via https://www.tiktok.com/tiktoklite"
    )
    assert [line.text for line in split(f"{text}\n{text}\r\n".encode())] == [text, text]


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=9)),
    cuts=st.lists(st.integers(0, 100)),
)
def test_lines_are_independent_of_block_boundaries(texts: list[str], cuts: list[int]) -> None:
    data = "\n".join(texts).encode()
    boundaries = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    blocks = [data[a:b] for a, b in pairwise(boundaries)]
    assert split(*blocks) == split(data)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(b"a\n\xff\xfeh\n", "list.txt, line 2: not UTF-8 text", id="not UTF-8"),
        pytest.param(b"a" * (REQUEST_BYTES_MAX + 1), "line 1: longer than", id="no line end"),
        pytest.param(b"\n" + b"a" * (REQUEST_BYTES_MAX + 1) + b"\n", "line 2: longer", id="long"),
    ],
)
def test_unreadable_line_is_reported_by_number(data: bytes, text: str) -> None:
    with pytest.raises(InputError, match=text):
        split(data)


def test_endless_line_is_not_buffered() -> None:
    endless = (b"a" * 65_536 for _ in range(100))
    with pytest.raises(InputError, match="line 1: longer than 1000000 bytes"):
        split(*endless)
