"""Sends a reply as its `Delivery` specifies: immediately, delayed, slowly, in part or never."""

import asyncio
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterator

from tests.standin.wire import BEFORE_HEAD, Body, Reply

# Large enough to saturate a core with encryption, small enough for a thousand open streams.
WRITE_BUFFER_BYTES = 512 * 1024
# A paced body is sent in this many pieces per second.
PIECES_PER_SECOND = 20
ACKNOWLEDGED_POLL_SECONDS = 0.005
ACKNOWLEDGED_POLLS = 400
Buffer = bytes | memoryview


async def deliver(
    reply: Reply,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    head_only: bool,
) -> bool:
    """Send a reply.

    Returns:
        Whether the connection can serve another request.

    Raises:
        OSError: The client disconnected.
    """
    delivery = reply.delivery
    await asyncio.sleep(delivery.wait_seconds)
    cut = delivery.cut
    if cut is None or cut.after_bytes != BEFORE_HEAD:
        writer.write(reply.head())
        if not head_only:
            limit = reply.body.length if cut is None else cut.after_bytes
            await _send(reply.body, limit, delivery.bytes_per_second, writer)
    if cut is None or (head_only and cut.after_bytes != BEFORE_HEAD):
        await writer.drain()
        return reply.sized
    await _cut_connection(cut.how, reader, writer)
    return False


async def _send(
    body: Body, limit: int, bytes_per_second: float | None, writer: asyncio.StreamWriter
) -> None:
    if bytes_per_second is not None:
        await _send_paced(body, limit, bytes_per_second, writer)
        return
    for piece in _limited(body, limit):
        writer.write(piece)
        await writer.drain()


async def _send_paced(
    body: Body, limit: int, bytes_per_second: float, writer: asyncio.StreamWriter
) -> None:
    loop = asyncio.get_running_loop()
    started, sent = loop.time(), 0
    step = max(1, int(bytes_per_second / PIECES_PER_SECOND))
    for piece in _limited(body, limit):
        for offset in range(0, len(piece), step):
            part = piece[offset : offset + step]
            writer.write(part)
            await writer.drain()
            sent += len(part)
            await asyncio.sleep(started + sent / bytes_per_second - loop.time())


def _limited(body: Body, limit: int) -> Iterator[Buffer]:
    for chunk in body.chunks():
        if limit <= 0:
            return
        yield chunk[:limit]
        limit -= len(chunk)


async def _cut_connection(
    how: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await writer.drain()
    if how == "hang":
        await until_hangup(reader)
    elif how == "reset":
        await reset(writer)


async def until_hangup(reader: asyncio.StreamReader) -> None:
    """Wait until the client closes its side; discard everything it sends."""
    while await reader.read(4096):
        pass


async def reset(writer: asyncio.StreamWriter) -> None:
    """Send a TCP reset after the client's kernel has acknowledged all written bytes."""
    await _acknowledged(writer)
    # The option belongs to the socket, not to the descriptor, so a copy can set it in any loop.
    with socket.socket(fileno=os.dup(_descriptor(writer))) as copy:
        copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _acknowledged(writer: asyncio.StreamWriter) -> None:
    # Idle twice in a row: between two polls the loop moves buffered bytes to the kernel's queue.
    quiet = 0
    for _ in range(ACKNOWLEDGED_POLLS):
        waiting = writer.transport.get_write_buffer_size()
        idle = waiting == 0 and _unacknowledged_bytes(_descriptor(writer)) == 0
        quiet = quiet + 1 if idle else 0
        if quiet == 2:
            return
        await asyncio.sleep(ACKNOWLEDGED_POLL_SECONDS)


def _unacknowledged_bytes(descriptor: int) -> int:
    answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\x00" * 4)
    return int.from_bytes(answer, "little")


def _descriptor(writer: asyncio.StreamWriter) -> int:
    sock: socket.socket = writer.get_extra_info("socket")
    return sock.fileno()
