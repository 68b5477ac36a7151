"""Wording of violations for clients: the value found, and the values that a type allows."""

from collections.abc import Callable
from typing import Any

from msgspec import inspect

from schemas.redaction import redact

EXAMPLE_MOMENT = "2026-12-01T18:00:00Z"

_NO_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

SHOWN_CHARACTERS = 60
"""Characters of a value or name that a reason quotes."""


def format_value(value: Any) -> str:
    """Format a value for a reason: bounded, redacted, printable."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            text = redact(value)
            cut = f"… ({len(value)} characters)" if len(text) > SHOWN_CHARACTERS else ""
            return repr(text[:SHOWN_CHARACTERS]) + cut
        case int() | float():
            text = _NO_NUMBERS.get(str(value)) or str(value)
            return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return "an object" if isinstance(value, dict) else "a list"


def allowed_values(node: Any) -> str:
    """Describe the values of a type; ``extra["allowed"]`` of its ``msgspec.Meta`` overrides it."""
    words = _WORDS.get(type(node))
    return words(node) if words else "an object"


def _metadata(node: inspect.Metadata) -> str:
    text = str((node.extra or {}).get("allowed") or allowed_values(node.type))
    integers = node.extra_json_schema or {}
    if "maximum" not in integers:
        return text
    return f"{text}, or an integer{_bounds(integers['minimum'], integers['maximum'])}"


def _union(node: inspect.UnionType) -> str:
    return " or ".join(
        allowed_values(each) for each in node.types if type(each) is not inspect.NoneType
    )


def _text(node: inspect.StrType) -> str:
    if node.pattern is not None:
        return f"a text that matches {node.pattern}"
    return f"a text{_bounds(node.min_length, node.max_length, ' characters')}"


def _integer(node: inspect.IntType) -> str:
    lowest = node.ge if node.gt is None else node.gt + 1
    highest = node.le if node.lt is None else node.lt - 1
    return f"an integer{_bounds(lowest, highest)}"


def _entries(noun: str) -> Callable[[Any], str]:
    return lambda node: f"{noun}{_bounds(node.min_length, node.max_length, ' entries')}"


_WORDS: dict[type, Callable[[Any], str]] = {
    inspect.Metadata: _metadata,
    inspect.UnionType: _union,
    inspect.StrType: _text,
    inspect.IntType: _integer,
    inspect.FloatType: lambda _: "a number",
    inspect.BoolType: lambda _: "true or false",
    inspect.LiteralType: lambda node: f"one of {', '.join(map(str, node.values))}",
    inspect.DateTimeType: lambda _: f"a time with its zone, such as {EXAMPLE_MOMENT}",
    inspect.DictType: _entries("an object"),
    inspect.ListType: _entries("a list"),
    inspect.VarTupleType: _entries("a list"),
}


def _bounds(lowest: int | None, highest: int | None, unit: str = "") -> str:
    if highest is None:
        return "" if lowest is None else f" of at least {lowest}{unit}"
    if lowest is None:
        return f" of at most {highest}{unit}"
    return f" of {lowest} to {highest}{unit}"
