"""Metrics of the producer: batch sizes and acknowledgement latency.

aiokafka has neither metrics nor a hook for them, so its sender is wrapped.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.observability.metrics import (
    PRODUCER_ACK_SECONDS,
    PRODUCER_BATCH_BYTES,
    PRODUCER_BATCH_RECORDS,
)

Send = Callable[[int, Mapping[Any, Any]], Awaitable[None]]
"""Sends batches, one for each partition, to a broker; returns when it has responded."""


def observe_batches(producer: AIOKafkaProducer) -> None:
    """Observe every produce request of a producer, which must not be started yet."""
    sender: Any = producer._sender  # noqa: SLF001
    sender._send_produce_req = partial(_send, sender._send_produce_req)  # noqa: SLF001


async def _send(send: Send, node: int, batches: Mapping[Any, Any]) -> None:
    for batch in batches.values():
        PRODUCER_BATCH_RECORDS.observe(batch.record_count)
        PRODUCER_BATCH_BYTES.observe(batch._builder.size())  # noqa: SLF001
    started = time.perf_counter()
    await send(node, batches)
    PRODUCER_ACK_SECONDS.observe(time.perf_counter() - started)
