import asyncio
import os
from pathlib import Path

import pytest

from streams.cli.request_files import display_name, read_blocks
from streams.new_requests import InputError


@pytest.mark.parametrize(("name", "text"), [("-", "standard input"), ("a.txt", "a.txt")])
def test_source_is_named_in_error_texts(name: str, text: str) -> None:
    assert display_name(name) == text


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
