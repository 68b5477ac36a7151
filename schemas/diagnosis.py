"""Validates a parsed JSON value; a violation has the field's path, its value, what is allowed.

The slow path, called after the fast decoder has rejected a body. It enforces the constraints of the
message types with reasons that a client can act on, and accepts integers as ids.
"""

import math
import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from schemas.json_text import SURROGATE
from schemas.wording import allowed_values, format_value

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class ViolationError(ValueError):
    """A value violates the type of its field.

    Attributes:
        path: JSON path of the field.
        reason: the value found and the values allowed.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def conform(value: Any, kind: Any) -> Any:
    """Validate a value; return it with integer ids as strings.

    Raises:
        ViolationError: the value is not of this type.
        RecursionError: the value is nested too deeply.
    """
    _check_json(value, "$")
    return _conform(value, _node(kind), "$")


@cache
def _node(kind: Any) -> Any:
    return inspect.type_info(kind)


def _child_path(path: str, name: str) -> str:
    return f"{path}.{name}" if _PLAIN_NAME.fullmatch(name) else f"{path}[{format_value(name)}]"


def _check_json(value: Any, path: str) -> None:
    """Reject what Python's parser accepts beyond JSON: NaN, Infinity, lone surrogates."""
    match value:
        case str():
            _check_text(value, path)
        case float() if not math.isfinite(value):
            raise ViolationError(
                path, f"got {format_value(value)}; allowed: numbers of JSON, no NaN and no Infinity"
            )
        case list():
            for index, each in enumerate(value):
                _check_json(each, f"{path}[{index}]")
        case dict():
            for name, each in value.items():
                _check_text(name, path)
                _check_json(each, _child_path(path, name))


def _check_text(text: str, path: str) -> None:
    if surrogate := SURROGATE.search(text):
        escape = f"\\u{ord(surrogate[0]):04x}"
        raise ViolationError(
            path, f"{escape} is half of a surrogate pair; allowed: both halves, or the character"
        )


def _conform(value: Any, node: Any, path: str) -> Any:
    if check := _CHECKS.get(type(node)):
        return check(value, node, path)
    if _is_rejected(value, node):
        raise _violation(value, node, path)
    return value


def _conform_annotated(value: Any, node: inspect.Metadata, path: str) -> Any:
    if "maximum" in (node.extra_json_schema or {}) and type(value) is int:
        return _integer_id(value, node, path)
    if _is_rejected(value, node.type):
        raise _violation(value, node, path)
    return _conform(value, node.type, path)


def _conform_object(value: Any, node: inspect.DictType, path: str) -> Any:
    if _is_rejected(value, node):
        raise _violation(value, node, path)
    for name in value:
        if _is_rejected(name, _unwrap(node.key_type)):
            wanted = allowed_values(node.key_type)
            raise ViolationError(
                path, f"got the name {format_value(name)}; allowed as name: {wanted}"
            )
    _check_size(value, node, path)
    return {
        name: _conform(each, node.value_type, _child_path(path, name))
        for name, each in value.items()
    }


def _conform_list(value: Any, node: inspect.ListType | inspect.VarTupleType, path: str) -> Any:
    if _is_rejected(value, node):
        raise _violation(value, node, path)
    _check_size(value, node, path)
    return [_conform(each, node.item_type, f"{path}[{i}]") for i, each in enumerate(value)]


def _integer_id(value: int, node: inspect.Metadata, path: str) -> str:
    keywords = node.extra_json_schema or {}
    if not keywords["minimum"] <= value <= keywords["maximum"]:
        raise _violation(value, node, path)
    return str(value)


def _conform_union(value: Any, node: inspect.UnionType, path: str) -> Any:
    rest = [each for each in node.types if not isinstance(each, inspect.NoneType)]
    if value is None and len(rest) < len(node.types):
        return None
    structs = [each for each in rest if isinstance(each, inspect.StructType)]
    if len(structs) > 1:
        return _conform_tagged(value, structs, path)
    if len(rest) == 1:
        return _conform(value, rest[0], path)
    if all(_is_rejected(value, _unwrap(each)) for each in rest):
        raise ViolationError(path, f"got {format_value(value)}; allowed: {allowed_values(node)}")
    return value


def _conform_tagged(value: Any, structs: list[inspect.StructType], path: str) -> Any:
    """Validate the struct that the tag selects."""
    if not isinstance(value, dict):
        raise ViolationError(path, f"got {format_value(value)}; allowed: an object")
    by_tag = {each.tag: each for each in structs}
    name = str(structs[0].tag_field)
    tag = value.get(name)
    node = by_tag.get(tag) if isinstance(tag, str) else None
    if node is None:
        given = f"got {format_value(tag)}" if name in value else "is missing"
        tags = ", ".join(map(str, by_tag))
        raise ViolationError(_child_path(path, name), f"{given}; allowed: one of {tags}")
    return _conform_struct(value, node, path)


def _conform_struct(value: Any, node: inspect.StructType, path: str) -> Any:
    if not isinstance(value, dict):
        raise ViolationError(path, f"got {format_value(value)}; allowed: an object")
    fields = {field.encode_name: field for field in node.fields}
    found: dict[str, Any] = {}
    for name, each in value.items():
        if field := fields.get(name):
            found[name] = _conform(each, field.type, _child_path(path, name))
        elif name == node.tag_field:
            found[name] = each
        elif node.forbid_unknown_fields:
            names = ", ".join(fields)
            raise ViolationError(_child_path(path, name), f"unknown field; allowed: {names}")
    for name, field in fields.items():
        if field.required and name not in value:
            raise ViolationError(
                _child_path(path, name), f"is missing; allowed: {allowed_values(field.type)}"
            )
    return found


_CHECKS: dict[type, Callable[[Any, Any, str], Any]] = {
    inspect.Metadata: _conform_annotated,
    inspect.UnionType: _conform_union,
    inspect.StructType: _conform_struct,
    inspect.DictType: _conform_object,
    inspect.ListType: _conform_list,
    inspect.VarTupleType: _conform_list,
}


def _check_size(value: Any, node: Any, path: str) -> None:
    if not _within(len(value), node.min_length, node.max_length):
        raise ViolationError(path, f"got {len(value)} entries; allowed: {allowed_values(node)}")


def _within(number: int, lowest: int | None, highest: int | None) -> bool:
    return (lowest or 0) <= number and (highest is None or number <= highest)


def _unwrap(node: Any) -> Any:
    return _unwrap(node.type) if isinstance(node, inspect.Metadata) else node


def _is_rejected(value: Any, node: Any) -> bool:
    """Whether a value is not of a type; the values inside of it are not checked."""
    accepts = _ACCEPTS.get(type(node))
    return accepts is not None and not accepts(value, node)


def _accepts_text(value: Any, node: inspect.StrType) -> bool:
    return (
        isinstance(value, str)
        and _within(len(value), node.min_length, node.max_length)
        and (node.pattern is None or re.search(node.pattern, value) is not None)
    )


_ACCEPTS: dict[type, Callable[[Any, Any], bool]] = {
    inspect.StrType: _accepts_text,
    inspect.IntType: lambda value, node: type(value) is int and _in_range(value, node),
    inspect.FloatType: lambda value, _: type(value) in (int, float),
    inspect.BoolType: lambda value, _: type(value) is bool,
    inspect.LiteralType: lambda value, node: type(value) in (str, int) and value in node.values,
    inspect.DateTimeType: lambda value, _: isinstance(value, str) and _is_moment(value),
    inspect.DictType: lambda value, _: isinstance(value, dict),
    inspect.ListType: lambda value, _: isinstance(value, list),
    inspect.VarTupleType: lambda value, _: isinstance(value, list),
}


def _in_range(number: int, node: inspect.IntType) -> bool:
    return (
        (node.ge is None or number >= node.ge)
        and (node.gt is None or number > node.gt)
        and (node.le is None or number <= node.le)
        and (node.lt is None or number < node.lt)
    )


def _is_moment(text: str) -> bool:
    try:
        return msgspec.convert(text, datetime).tzinfo is not None
    except msgspec.ValidationError:
        return False


def _violation(value: Any, node: Any, path: str) -> ViolationError:
    is_long = isinstance(value, str) and isinstance(_unwrap(node), inspect.StrType)
    highest = _unwrap(node).max_length if is_long else None
    # A string that is only too long is not quoted: it may be a secret.
    hidden = highest is not None and len(value) > highest
    given = f"{len(value)} characters" if hidden else format_value(value)
    return ViolationError(path, f"got {given}; allowed: {allowed_values(node)}")
