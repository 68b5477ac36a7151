"""Builders of dead letters for tests."""

from datetime import UTC, datetime
from typing import Any

from schemas.deadletters import DeadLetterStatus
from streams.deadletters.dead_letter import DeadLetterRecord, find_obstacle
from streams.deadletters.headers import DeadLetterHeaders
from streams.records import Header

FAILED_AT = datetime(2026, 1, 2, tzinfo=UTC)


def stored_dead_letter(
    *,
    name: str = "0-1",
    state: Any = None,
    value: bytes | None = b"v",
    headers: tuple[Header, ...] = (),
    **fields: Any,
) -> DeadLetterRecord:
    defaults = {"origin_topic": "videos.validated", "failed_at": FAILED_AT}
    metadata = DeadLetterHeaders(**{**defaults, **fields})
    return DeadLetterRecord(
        id=name,
        key=b"k",
        value=value,
        headers=headers,
        metadata=metadata,
        obstacle=find_obstacle(metadata.origin_topic, headers, value),
        mark=DeadLetterStatus(state=state, by="me", at=FAILED_AT) if state else None,
    )
