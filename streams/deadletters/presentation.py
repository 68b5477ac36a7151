"""Presentation of a dead letter without secrets: fields, key, headers, value, advice."""

import json
from typing import Any, Literal

import msgspec

from schemas.redaction import printable
from streams.deadletters.dead_letter import DeadLetterRecord, DeadLetterState, DeadLetterSummary

MASK = "***"
VALUE_CHARACTERS = 20_000
"""Characters of a value that are printed; the rest is only counted."""

HEX_BYTES = 4_096
"""Bytes of a hex dump."""

HEX_LINE_BYTES = 16

HEADER_BYTES = 2_000
"""Bytes of the key and of each header that are printed."""

_SECRET = ("cookie", "cookies", "set-cookie", "authorization")
_PACKED = {"topic", "partition", "offset", "value"}
"""Fields of a record embedded in a failure; its value is base64 and may contain secrets."""


def dead_letter_fields(dead_letter: DeadLetterSummary, replays_max: int) -> dict[str, Any]:
    """Return the fields of a dead letter in JSON, without the record's value."""
    metadata: dict[str, Any] = msgspec.to_builtins(dead_letter.metadata)
    state = dead_letter.state(replays_max)
    return {
        "id": dead_letter.id,
        "state": state,
        **metadata,
        "mark": msgspec.to_builtins(dead_letter.mark),
    }


def advice(dead_letter: DeadLetterSummary, state: DeadLetterState) -> str:
    """Return the commands that an operator can run in this state."""
    if dead_letter.obstacle is not None:
        command = f"`clipmill deadletters resolve {dead_letter.id}`"
        return f"It cannot be replayed: {dead_letter.obstacle}. Resolve it with {command}"
    replay, resolve = (
        f"`clipmill deadletters {act} {dead_letter.id}" for act in ("replay", "resolve")
    )
    return {
        "waiting": f"Replay it with {replay}`, or resolve it with {resolve}`",
        "parked": f"It failed again after a replay. Replay it with {replay} --force`, "
        f"or resolve it with {resolve}`",
        "replayed": "It was replayed, as a request of its own",
        "resolved": f"No action is needed. To replay it all the same: {replay} --force`",
    }[state]


def shown_key(dead_letter: DeadLetterRecord) -> str:
    return printable(_decode(dead_letter.key))


def shown_headers(dead_letter: DeadLetterRecord) -> list[tuple[str, str]]:
    """Return the original headers in their order, with the values of cookies masked."""
    return [(printable(name), _header(name, value)) for name, value in dead_letter.headers]


def format_value(value: bytes | None) -> str:
    """Format a record's value: as indented JSON with masked secrets, else as escaped bytes."""
    if value is None:
        return "none"
    return _cut(_masked_json(value) or repr(value))


class ShownValue(msgspec.Struct, frozen=True):
    """A record's value for a page.

    Attributes:
        format: of the text; None without a value.
        bytes: size of the value.
        text: JSON is indented, with masked secrets.
    """

    format: Literal["json", "text", "hex"] | None
    bytes: int
    text: str


def shown_value(value: bytes | None) -> ShownValue:
    """Return a record's value as JSON, else as text, else as a hex dump."""
    if value is None:
        return ShownValue(None, 0, "")
    if (masked := _masked_json(value)) is not None:
        return ShownValue("json", len(value), _cut(masked))
    try:
        return ShownValue("text", len(value), _cut(value.decode()))
    except UnicodeDecodeError:
        return ShownValue("hex", len(value), _hex_dump(value))


def _hex_dump(value: bytes) -> str:
    shown = value[:HEX_BYTES]
    lines = [
        f"{start:06x}  {shown[start : start + HEX_LINE_BYTES].hex(' ')}"
        for start in range(0, len(shown), HEX_LINE_BYTES)
    ]
    more = len(value) - len(shown)
    return "\n".join([*lines, *([f"… and {more} bytes more"] if more else [])])


def _masked_json(value: bytes) -> str | None:
    try:
        return json.dumps(mask_secrets(json.loads(value)), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _cut(text: str) -> str:
    more = len(text) - VALUE_CHARACTERS
    shown = "\n".join(map(printable, text[:VALUE_CHARACTERS].split("\n")))
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
    return MASK if _is_secret(name) else printable(_decode(value))


def _decode(data: bytes | None) -> str:
    if data is None:
        return "none"
    more = len(data) - HEADER_BYTES
    shown = data[:HEADER_BYTES].decode(errors="backslashreplace")
    return f"{shown}… and {more} bytes more" if more > 0 else shown
