"""Start of a worker process: fork, then a handshake of `Setup` and `ProcessReady`."""

import asyncio
import socket

from agents.engine.fork_client import ForkServer
from agents.engine.protocol import (
    FromProcess,
    ProcessReady,
    ProtocolError,
    Setup,
    frame,
    read_message,
)
from agents.engine.worker_handle import WorkerHandle


class EngineStartError(Exception):
    """An engine process did not become ready; the reason is on its standard error."""


async def start_worker(
    fork_server: ForkServer,
    setup: Setup,
    *,
    grace_seconds: float,
    hang_seconds: float,
    timeout_seconds: float,
) -> WorkerHandle:
    """Fork a process and wait until it is ready.

    Raises:
        EngineStartError: the process was not ready in time, or ended before.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            fork_server.fork(theirs)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
    except BaseException as error:
        ours.close()
        if isinstance(error, OSError):
            raise EngineStartError(f"cannot fork an engine process: {error}") from error
        raise
    ready = await _handshake(reader, writer, setup, timeout_seconds)
    return WorkerHandle(
        ready,
        (reader, writer),
        fork_server,
        threads=setup.threads,
        grace_seconds=grace_seconds,
        hang_seconds=hang_seconds,
    )


async def _handshake(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, setup: Setup, seconds: float
) -> ProcessReady:
    try:
        writer.write(frame(setup))
        return _as_ready(await asyncio.wait_for(read_message(reader), seconds))
    except BaseException as error:
        writer.close()
        if isinstance(error, EOFError | OSError | ProtocolError):
            raise EngineStartError(f"an engine process did not start: {error!r}") from error
        raise


def _as_ready(message: FromProcess) -> ProcessReady:
    if not isinstance(message, ProcessReady):
        raise ProtocolError("the first frame must be a Ready")
    return message
