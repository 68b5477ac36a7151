from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.request_lines import InputError, LineSplitter, RequestLine
from streams.topics import REQUEST_BYTES_MAX


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
