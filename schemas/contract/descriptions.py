"""Docstrings of message structs as descriptions in their JSON Schemas."""

import inspect
import re
from typing import Any

from msgspec import Struct
from msgspec.inspect import (
    DictType,
    Metadata,
    NoneType,
    StructType,
    UnionType,
    VarTupleType,
    type_info,
)

OPAQUE = "Any JSON value, carried as it is."

_FIELD = re.compile(r"^    (\w+): ", re.MULTILINE)


def structs_of(kind: Any) -> dict[str, type[Struct]]:
    """Return all structs of a message, nested ones too, by their names in its JSON Schema."""
    found: dict[str, type[Struct]] = {}
    _collect(type_info(kind), found)
    return found


def bare_type(kind: Any) -> Any:
    """Return the type of a field without metadata and without ``| None``."""
    match kind:
        case Metadata(type=inner):
            return bare_type(inner)
        case UnionType(types=types):
            rest = [bare_type(each) for each in types if not isinstance(each, NoneType)]
            return rest[0] if len(rest) == 1 else kind
    return kind


def _collect(node: Any, found: dict[str, type[Struct]]) -> None:
    match node:
        case StructType(cls=struct, fields=fields):
            found[struct.__name__] = struct
            for field in fields:
                _collect(field.type, found)
        case UnionType(types=types):
            for each in types:
                _collect(each, found)
        case VarTupleType(item_type=inner) | DictType(value_type=inner) | Metadata(type=inner):
            _collect(inner, found)


def describe(definition: dict[str, Any], struct: type[Struct]) -> None:
    """Add the docstring of a struct to its schema: the summary, and a sentence per field."""
    definition["description"] = _summary(struct)
    sentences = field_descriptions(struct)
    for name, field in definition["properties"].items():
        is_opaque = {} in (field, *field.get("anyOf", ()))
        sentence = sentences.get(name) or (OPAQUE if is_opaque else None)
        if sentence:
            field["description"] = sentence


def _summary(struct: type[Struct]) -> str:
    return _join_lines(_docstring(struct).partition("\nAttributes:\n")[0])


def field_descriptions(struct: type[Struct]) -> dict[str, str]:
    """Return the sentence of each field, inherited fields included."""
    sentences: dict[str, str] = {}
    for each in reversed(struct.__mro__):
        _, _, section = _docstring(each).partition("\nAttributes:\n")
        _, *parts = _FIELD.split(section)
        sentences |= dict(zip(parts[::2], map(_join_lines, parts[1::2]), strict=True))
    return sentences


def _docstring(struct: type) -> str:
    return inspect.cleandoc(struct.__dict__.get("__doc__") or "")


def _join_lines(text: str) -> str:
    """Join a text to one line, with code marks of Markdown instead of reStructuredText."""
    return " ".join(text.split()).replace("``", "`")
