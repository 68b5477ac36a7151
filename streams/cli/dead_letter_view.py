"""Formats dead letters for the terminal."""

from collections.abc import Sequence

from rich.table import Column, Table

from streams.cli.result_table import safe_markup
from streams.deadletters.dead_letter import DeadLetterRecord, State
from streams.deadletters.presentation import (
    advice,
    dead_letter_fields,
    format_value,
    shown_headers,
    shown_key,
)
from streams.printable import printable


def dead_letter_table(dead_letters: Sequence[DeadLetterRecord], replays_max: int) -> Table:
    """Return a table with one row per dead letter."""
    table = Table(Column("id", no_wrap=True), "failed", "state", "step", "code", "request", "why")
    for dead_letter in dead_letters:
        metadata = dead_letter.metadata
        texts = (metadata.step, metadata.code, metadata.request_id, metadata.reason)
        failed_at = metadata.failed_at.isoformat(timespec="seconds")[:19]
        table.add_row(
            dead_letter.id, failed_at, dead_letter.state(replays_max), *map(safe_markup, texts)
        )
    return table


def dead_letter_text(dead_letter: DeadLetterRecord, replays_max: int) -> str:
    """Return all of a dead letter as text, with the values of cookies masked."""
    fields = dead_letter_fields(dead_letter, replays_max)
    state: State = dead_letter.state(replays_max)
    headers = [f"  {name}: {text}" for name, text in shown_headers(dead_letter)]
    lines = [
        *(f"{name}: {printable(str(value))}" for name, value in fields.items()),
        f"key: {shown_key(dead_letter)}",
        *["headers:", *headers],
        "value:",
        format_value(dead_letter.value),
        "",
        advice(dead_letter, state),
    ]
    return "\n".join(lines)
