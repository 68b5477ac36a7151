"""A listening socket that closes its connections when it is closed."""

import asyncio
from collections.abc import Awaitable, Callable

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = "127.0.0.1"
# Limit of request heads, including cookies.
READ_LIMIT_BYTES = 64 * 1024
# Timeout for a slow reader to drain the buffer, and for the TLS close_notify.
CLOSE_SECONDS = 10.0


class Listener:
    """Serves connections on loopback until closed.

    Args:
        handler: What to do with a connection; it is closed when the handler returns.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        self._server = await asyncio.start_server(
            self._connected, LOOPBACK, port, limit=READ_LIMIT_BYTES, backlog=512
        )

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    # Not a coroutine: the event loop reports its cancelled task as an error.
    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._handler(reader, writer)
            writer.close()
            async with asyncio.timeout(CLOSE_SECONDS):
                await writer.wait_closed()
        except (OSError, EOFError):
            # The client disconnected or never closes its side.
            pass
        finally:
            writer.transport.abort()
