"""Writes to a lost connection: uvloop's `RuntimeError` as the error that aiokafka handles.

asyncio reports the loss as an `OSError`, which aiokafka turns into a `KafkaConnectionError`. uvloop
raises a `RuntimeError` until the reader has seen the loss. It ended the task that updates the
metadata of a client: its stage never saw the restarted broker, and could not stop.
"""

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

CLOSED = "the handler is closed"
"""End of the text of uvloop's error."""

_send = AIOKafkaConnection.send


def send(connection: Any, *args: Any, **kwargs: Any) -> Any:
    """Send a request; in place of `AIOKafkaConnection.send`.

    Raises:
        KafkaConnectionError: there is no connection, or it is lost.
    """
    try:
        return _send(connection, *args, **kwargs)
    except RuntimeError as error:
        if not str(error).endswith(CLOSED):
            raise
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(
            f"{connection.host}:{connection.port} is lost: {error}"
        ) from error


def install() -> None:
    """Replace the method for all clients of this process."""
    AIOKafkaConnection.send = send
