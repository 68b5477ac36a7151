"""Builders of consumed records for tests."""

from collections.abc import Iterable

from streams.records import Header, Incoming


def incoming(
    value: bytes | None = b"{}",
    *,
    offset: int = 7,
    key: bytes | None = b"k",
    partition: int = 3,
    headers: Iterable[Header] = (),
    timestamp: float = 1_700_000_000.5,
) -> Incoming:
    return Incoming("requests", partition, offset, key, value, tuple(headers), timestamp)
