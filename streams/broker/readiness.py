"""Whether a Kafka node answers for its cluster."""

from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from streams.broker.state import LOOPBACK

# A stalled node: the next question comes on a new connection.
_ANSWER_MILLISECONDS = 3000


async def answers(port: int, cluster_id: str) -> bool:
    """Whether the node on this port serves this cluster and is registered with its controller.

    One question on one connection, and nothing is logged: aiokafka's clients log an error for
    every attempt at a server that is still starting.
    """
    try:
        connection = await create_conn(LOOPBACK, port, request_timeout_ms=_ANSWER_MILLISECONDS)
        try:
            metadata: Any = await connection.send(MetadataRequest(topics=[]))
        finally:
            await connection.close()
    except (OSError, TimeoutError, KafkaError):
        return False
    return bool(metadata.brokers) and metadata.cluster_id == cluster_id
