"""A console with dead letters in each state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from streams.deadletters.dead_letter import DeadLetterRecord
from tests.unit.streams.console.consoles import Console, running_console
from tests.unit.streams.deadletters.builders import FAILED_AT, stored_dead_letter


def dead_letter(offset: int, **fields: Any) -> DeadLetterRecord:
    failed_at = FAILED_AT + timedelta(hours=offset)
    fields = {"origin_offset": offset, "failed_at": failed_at, "step": "download", **fields}
    return stored_dead_letter(name=f"0-{offset}-1", **fields)


DEAD_LETTERS = (
    dead_letter(1, code="network.dns", value=b'{"cookies": "s3cret", "a": 1}'),
    dead_letter(2, code="internal.bug", replays=1),
    dead_letter(3, code="internal.bug", value=None),
    dead_letter(4, code="network.timeout", step="extraction", platform="tiktok"),
    dead_letter(5, code="internal.bug", state="resolved"),
)


@asynccontextmanager
async def console(directory: Path, **settings: Any) -> AsyncIterator[Console]:
    async with running_console(directory, **settings) as client:
        client.dead_letters.add(*DEAD_LETTERS)
        yield client
