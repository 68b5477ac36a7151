import asyncio
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.request_lines import InputError, LineSplitter, RequestLine, read_blocks
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


def test_lines_of_standard_input_are_named() -> None:
    assert [*LineSplitter("-").feed(b"a\n")] == [("standard input, line 1", "a")]


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


async def test_a_file_is_read_in_blocks(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(bytes(range(256)) * 1_000)
    blocks = [block async for block in read_blocks(str(file))]
    assert b"".join(blocks) == file.read_bytes()
    assert len(blocks) > 1


async def test_pipe_is_read_before_its_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    blocks = read_blocks(str(fifo))
    first = asyncio.ensure_future(anext(blocks))
    with await asyncio.to_thread(fifo.open, "wb", buffering=0) as writer:
        writer.write(b"one\n")
        assert await asyncio.wait_for(first, 5) == b"one\n"
        writer.write(b"two\n")
        assert await anext(blocks) == b"two\n"
    assert [block async for block in blocks] == []


async def test_blocking_read_can_be_cancelled(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    blocks = read_blocks(str(fifo))
    first = asyncio.ensure_future(anext(blocks))
    with await asyncio.to_thread(fifo.open, "wb", buffering=0) as writer:
        writer.write(b"one\n")
        assert await first == b"one\n"
        second = asyncio.ensure_future(anext(blocks))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(second, 1)


@pytest.mark.parametrize("name", ["missing.txt", "."])
async def test_unreadable_file_is_reported(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / name)
    with pytest.raises(InputError, match=r"cannot be read: (No such file|Is a directory)"):
        await anext(read_blocks(path))
