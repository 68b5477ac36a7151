"""Dead letters as people see them on a terminal, and as JSON."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.table import Column, Table

from streams.cli.result_table import UNPRINTABLE, plain
from streams.deadletters.dead_letter import Letter, State

MASK = "***"
VALUE_CHARACTERS = 20_000
"""Of a value that is shown."""

_SECRET = ("cookie", "cookies", "set-cookie", "authorization")
_PACKED = {"topic", "partition", "offset", "value"}
"""Fields of a record inside of a failure: its value is base64, behind which anything may be."""


def letter_table(letters: Sequence[Letter], replays_max: int) -> Table:
    """Return one row per letter."""
    table = Table(Column("id", no_wrap=True), "failed", "state", "step", "code", "request", "why")
    for letter in letters:
        facts = letter.facts
        texts = (facts.step, facts.code, facts.request_id, facts.reason)
        failed_at = facts.failed_at.isoformat(timespec="seconds")[:19]
        table.add_row(letter.id, failed_at, letter.state(replays_max), *map(plain, texts))
    return table


def letter_fields(letter: Letter, replays_max: int) -> dict[str, Any]:
    """Return what is told of a letter in JSON: all but its content."""
    facts: dict[str, Any] = msgspec.to_builtins(letter.facts)
    state = letter.state(replays_max)
    return {"id": letter.id, "state": state, **facts, "mark": msgspec.to_builtins(letter.mark)}


def letter_text(letter: Letter, replays_max: int) -> str:
    """Return everything about a letter, without the values of cookies."""
    fields = letter_fields(letter, replays_max)
    state: State = letter.state(replays_max)
    headers = [f"  {_clean(name)}: {_header(name, value)}" for name, value in letter.headers]
    lines = [
        *(f"{name}: {_clean(str(value))}" for name, value in fields.items()),
        f"key: {_clean(_decoded(letter.key))}",
        *["headers:", *headers],
        "value:",
        shown_value(letter.value),
        "",
        advice(letter, state),
    ]
    return "\n".join(lines)


def advice(letter: Letter, state: State) -> str:
    """Return what can be done about a letter."""
    if obstacle := letter.obstacle():
        return f"It cannot be put back: {obstacle}. `clipmill deadletters resolve {letter.id}`"
    replay, resolve = (f"`clipmill deadletters {act} {letter.id}" for act in ("replay", "resolve"))
    return {
        "waiting": f"Put it back with {replay}`, or be done with it: {resolve}`",
        "parked": f"It failed again after a replay. {replay} --force`, or {resolve}`",
        "replaying": f"A replay was interrupted here; {replay}` finds out how far it came",
        "replayed": "It was put back; what came of it is a request of its own",
        "resolved": f"Nothing is to be done; still possible: {replay} --force`",
    }[state]


def shown_value(value: bytes | None) -> str:
    """Return a record's value for people: JSON with its cookies masked, or the bytes as text."""
    if value is None:
        return "none"
    try:
        text = json.dumps(masked(json.loads(value)), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = repr(value)
    more = len(text) - VALUE_CHARACTERS
    shown = "\n".join(map(_clean, text[:VALUE_CHARACTERS].split("\n")))
    return shown + (f"\n… and {more} characters more" if more > 0 else "")


def masked(value: Any) -> Any:
    """Return JSON without what is behind names of cookies and logins."""
    if isinstance(value, list):
        return [masked(each) for each in value]
    if not isinstance(value, dict):
        return value
    packed = value.keys() >= _PACKED
    return {
        name: _hidden(each) if _is_secret(name) or (packed and name == "value") else masked(each)
        for name, each in value.items()
    }


def _hidden(value: Any) -> Any:
    """Return what stands for a secret: names of cookies may be seen."""
    if isinstance(value, list):
        return [_hidden(each) for each in value]
    if isinstance(value, dict):
        return {name: each if name == "name" else _hidden(each) for name, each in value.items()}
    return MASK


def _is_secret(name: str) -> bool:
    return name.lower() in _SECRET


def _header(name: str, value: bytes | None) -> str:
    return MASK if _is_secret(name) else _clean(_decoded(value))


def _decoded(data: bytes | None) -> str:
    return "none" if data is None else data.decode(errors="backslashreplace")


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else UNPRINTABLE for char in text)
