"""Formats dead letters for the terminal and as JSON, without secrets."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.table import Column, Table

from streams.cli.result_table import UNPRINTABLE, safe_markup
from streams.deadletters.dead_letter import DeadLetterRecord, State

MASK = "***"
VALUE_CHARACTERS = 20_000
"""Characters of a value that are printed; the rest is only counted."""

HEADER_BYTES = 2_000
"""Bytes of the key and of each header that are printed."""

_SECRET = ("cookie", "cookies", "set-cookie", "authorization")
_PACKED = {"topic", "partition", "offset", "value"}
"""Fields of a record embedded in a failure; its value is base64 and may contain secrets."""


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


def dead_letter_fields(dead_letter: DeadLetterRecord, replays_max: int) -> dict[str, Any]:
    """Return the fields of a dead letter in JSON, without the record's value."""
    metadata: dict[str, Any] = msgspec.to_builtins(dead_letter.metadata)
    state = dead_letter.state(replays_max)
    return {
        "id": dead_letter.id,
        "state": state,
        **metadata,
        "mark": msgspec.to_builtins(dead_letter.mark),
    }


def dead_letter_text(dead_letter: DeadLetterRecord, replays_max: int) -> str:
    """Return all of a dead letter as text, with the values of cookies masked."""
    fields = dead_letter_fields(dead_letter, replays_max)
    state: State = dead_letter.state(replays_max)
    headers = [
        f"  {_printable(name)}: {_header(name, value)}" for name, value in dead_letter.headers
    ]
    lines = [
        *(f"{name}: {_printable(str(value))}" for name, value in fields.items()),
        f"key: {_printable(_decode(dead_letter.key))}",
        *["headers:", *headers],
        "value:",
        format_value(dead_letter.value),
        "",
        advice(dead_letter, state),
    ]
    return "\n".join(lines)


def advice(dead_letter: DeadLetterRecord, state: State) -> str:
    """Return the commands that apply to a dead letter in this state."""
    if obstacle := dead_letter.obstacle():
        return f"It cannot be put back: {obstacle}. `clipmill deadletters resolve {dead_letter.id}`"
    replay, resolve = (
        f"`clipmill deadletters {act} {dead_letter.id}" for act in ("replay", "resolve")
    )
    return {
        "waiting": f"Put it back with {replay}`, or be done with it: {resolve}`",
        "parked": f"It failed again after a replay. {replay} --force`, or {resolve}`",
        "replayed": "It was put back; what came of it is a request of its own",
        "resolved": f"Nothing is to be done; still possible: {replay} --force`",
    }[state]


def format_value(value: bytes | None) -> str:
    """Format a record's value: as indented JSON with masked secrets, else as escaped bytes."""
    if value is None:
        return "none"
    try:
        text = json.dumps(mask_secrets(json.loads(value)), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = repr(value)
    more = len(text) - VALUE_CHARACTERS
    shown = "\n".join(map(_printable, text[:VALUE_CHARACTERS].split("\n")))
    return shown + (f"\n… and {more} characters more" if more > 0 else "")


def mask_secrets(value: Any) -> Any:
    """Mask the values of cookie and authorization fields at any depth."""
    if isinstance(value, list):
        return [mask_secrets(each) for each in value]
    if not isinstance(value, dict):
        return value
    packed = value.keys() >= _PACKED
    return {
        name: _mask(each)
        if _is_secret(name) or (packed and name == "value")
        else mask_secrets(each)
        for name, each in value.items()
    }


def _mask(value: Any) -> Any:
    """Mask a secret value; the names of cookies are kept."""
    if isinstance(value, list):
        return [_mask(each) for each in value]
    if isinstance(value, dict):
        return {name: each if name == "name" else _mask(each) for name, each in value.items()}
    return MASK


def _is_secret(name: str) -> bool:
    return name.lower() in _SECRET


def _header(name: str, value: bytes | None) -> str:
    return MASK if _is_secret(name) else _printable(_decode(value))


def _decode(data: bytes | None) -> str:
    if data is None:
        return "none"
    more = len(data) - HEADER_BYTES
    shown = data[:HEADER_BYTES].decode(errors="backslashreplace")
    return f"{shown}… and {more} bytes more" if more > 0 else shown


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else UNPRINTABLE for char in text)
