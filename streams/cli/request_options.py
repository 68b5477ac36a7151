"""Command-line options generated from the schema of a request: a new field is a new option."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click
import msgspec
from msgspec.inspect import (
    BoolType,
    DateTimeType,
    DictType,
    Field,
    IntType,
    LiteralType,
    StrType,
    StructType,
    VarTupleType,
    type_info,
)

from schemas.contract.descriptions import bare_type, field_descriptions
from schemas.request import Request
from streams.moments import parse_future

ARGUMENTS = frozenset({"url", "urls"})
"""Fields given as arguments and lines instead of options."""

SENTENCES = {"id": "Id of the request; several get ID-1, ID-2, and so on. Default: random."}
"""Help texts of options whose meaning differs from their field's."""

SEVERAL_TIMES = " May be given several times."

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(?:([kKMGT])(i?))?B?", re.ASCII)
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


class ByteSize(click.ParamType):
    """A number of bytes, such as 500M (decimal) or 1GiB (binary)."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(
                f"{value!r} is not a size; use bytes, or a unit as in 500M or 1GiB", param, ctx
            )
        number, unit, binary = match.groups(default="")
        return int(Decimal(number) * (1024 if binary else 1000) ** _POWERS[unit])


class FutureMoment(click.ParamType):
    """A point in time, or a time span from now."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            return parse_future(str(value), datetime.now(UTC))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Pair(click.ParamType):
    """A key and a value of a mapping."""

    name = "KEY=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        key, separator, text = str(value).partition("=")
        if not separator:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, text


class FieldOption(msgspec.Struct, frozen=True, kw_only=True):
    """The option of one field.

    Attributes:
        path: names of the enclosing struct's field, if any, and of the field.
        flags: its names on the command line.
        attributes: further arguments of `click.option`.
    """

    path: tuple[str, ...]
    flags: str
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path[-1]


def field_options(kind: Any = Request, prefix: tuple[str, ...] = ()) -> list[FieldOption]:
    """Return the options of all fields of a struct, nested structs included.

    Raises:
        TypeError: a field has a type that no option supports yet.
    """
    struct = type_info(kind)
    assert isinstance(struct, StructType)
    sentences = field_descriptions(kind) | SENTENCES
    found: list[FieldOption] = []
    for field in struct.fields:
        inner = bare_type(field.type)
        if isinstance(inner, StructType):
            found += field_options(inner.cls, (*prefix, field.name))
        elif field.name not in ARGUMENTS:
            found.append(
                _option(field, inner, (*prefix, field.name), sentences.get(field.name, ""))
            )
    return found


def _option(field: Field, kind: Any, path: tuple[str, ...], sentence: str) -> FieldOption:
    name = field.name.replace("_", "-")
    flags, note, attributes = f"--{name}", "", dict[str, Any]()
    match kind:
        case LiteralType(values=values):
            attributes["type"] = click.Choice(values)
        case IntType() if field.name.endswith("_bytes"):
            attributes["type"], note = ByteSize(), " Such as 500M or 1GiB."
        case IntType(ge=least, le=most):
            attributes["type"] = click.IntRange(least, most)
        case BoolType():
            flags = f"--{name}/--no-{name}"
        case DateTimeType():
            attributes["type"], note = FutureMoment(), " RFC 3339, or 2h or 3d for a time from now."
        case DictType():
            flags = f"--{name.removesuffix('s')}"
            attributes |= {"type": Pair(), "multiple": True}
            note = SEVERAL_TIMES
        case VarTupleType(item_type=item):
            flags = f"--{name.removesuffix('s')}"
            attributes |= {"type": _item_type(bare_type(item), path), "multiple": True}
            note = SEVERAL_TIMES
        case StrType():
            attributes["type"] = str
        case _:
            raise _unsupported(path, kind)
    attributes["help"] = sentence[:1].upper() + sentence[1:] + note
    if isinstance(field.default, str | int) and not isinstance(field.default, bool):
        attributes["show_default"] = str(field.default)
    return FieldOption(path=path, flags=flags, attributes=attributes)


def _item_type(kind: Any, path: tuple[str, ...]) -> click.Choice[Any] | type[str]:
    match kind:
        case LiteralType(values=values):
            return click.Choice(values)
        case StrType():
            return str
        case _:
            raise _unsupported(path, kind)


def _unsupported(path: tuple[str, ...], kind: Any) -> TypeError:
    return TypeError(f"there is no option for `{'.'.join(path)}` of a request, {kind}")


REQUEST_OPTIONS = field_options()


def request_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a request to a command; an omitted option is None or empty."""
    for each in reversed(REQUEST_OPTIONS):
        command = click.option(each.flags, each.name, default=None, **each.attributes)(command)
    return command


def request_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return the given options as the, possibly nested, fields of a request."""
    fields: dict[str, Any] = {}
    for each in REQUEST_OPTIONS:
        value = given[each.name]
        if value is None or value == ():
            continue
        target = fields
        for name in each.path[:-1]:
            target = target.setdefault(name, {})
        is_mapping = isinstance(each.attributes.get("type"), Pair)
        target[each.name] = _mapping(each, value) if is_mapping else value
    return fields


def _mapping(option: FieldOption, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise click.UsageError(f"{option.flags} repeats a key")
    return mapping
