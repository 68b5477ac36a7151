from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streams.cluster import producer_metrics as module
from streams.cluster.producer_metrics import observe_batches
from streams.observability.metrics import REGISTRY


def samples() -> dict[str, float]:
    names = ("batch_records", "batch_bytes", "ack_seconds")
    return {
        f"{name}_{part}": REGISTRY.get_sample_value(f"clipmill_producer_{name}_{part}") or 0.0
        for name in names
        for part in ("count", "sum")
    }


def batch(records: int, size: int) -> Any:
    return SimpleNamespace(record_count=records, _builder=SimpleNamespace(size=lambda: size))


async def test_batch_sizes_and_ack_latency_are_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [10.0]
    sent: list[Any] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    async def send(node: int, batches: Any) -> None:
        sent.append((node, batches))
        now[0] += 0.25

    producer: Any = SimpleNamespace(_sender=SimpleNamespace(_send_produce_req=send))
    observe_batches(producer)
    before = samples()
    batches = {("t", 0): batch(3, 700), ("t", 1): batch(1, 90)}
    await producer._sender._send_produce_req(7, batches)
    assert sent == [(7, batches)]
    assert {name: value - before[name] for name, value in samples().items()} == {
        "batch_records_count": 2,
        "batch_records_sum": 4,
        "batch_bytes_count": 2,
        "batch_bytes_sum": 790,
        "ack_seconds_count": 1,
        "ack_seconds_sum": 0.25,
    }


async def test_wrapped_attributes_exist_in_aiokafka() -> None:
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1")
    try:
        sender: Any = producer._sender
        original = sender._send_produce_req
        observe_batches(producer)
        assert sender._send_produce_req.args == (original,)
        created = producer.create_batch()
        created.append(key=None, value=b"x", timestamp=None)
        assert created.size() > 0
        assert created.record_count() == 1
    finally:
        await producer.stop()
