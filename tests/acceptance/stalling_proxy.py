"""A TCP proxy to a server of this machine that stops forwarding after a number of bytes."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024


class StallingProxy:
    """Forwards connections to a port; closed at the end of the context.

    Attributes:
        port: that it listens on.
        stalled: set once it holds back bytes.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.stalled = asyncio.Event()
        self._target_port = target_port
        self._bytes_left: int | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stall_after(self, count: int) -> None:
        """Stop forwarding requests when so many more bytes of them have passed."""
        self._bytes_left = count

    def resume(self) -> None:
        """Forward everything again."""
        self._bytes_left = None
        self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                await asyncio.gather(
                    self._forward(reader, far_writer, is_request=True),
                    self._forward(far_reader, writer, is_request=False),
                )
            finally:
                far_writer.close()
                writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            if is_request:
                await self._count(len(chunk))
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    async def _count(self, count: int) -> None:
        if self._bytes_left is not None:
            self._bytes_left -= count
            if self._bytes_left < 0:
                self._open.clear()
                self.stalled.set()
        await self._open.wait()
