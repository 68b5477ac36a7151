"""Form fields generated from a schema, and the values of posted forms."""

import hashlib
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any, get_args, get_type_hints

import msgspec
from aiohttp import web
from msgspec.inspect import (
    BoolType,
    IntType,
    LiteralType,
    StrType,
    StructType,
    VarTupleType,
    type_info,
)

from schemas.codec import encode
from schemas.contract.descriptions import bare_type, field_descriptions
from schemas.request import Options
from streams.console.http_messages import reading
from streams.new_requests import new_id

SEPARATOR = ", "
"""Between the choices of a combination."""

DIGITS_MAX = 19
"""Digits of the largest number that a schema accepts, 2**63 - 1."""


class FormField(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a form.

    Attributes:
        description: sentence beside it.
        choices: permitted texts; empty for a number, and for several texts.
        is_number: a number is expected.
        parse: converts the text, which the schema then validates.
    """

    name: str
    description: str
    choices: tuple[str, ...]
    parse: Callable[[str], object]
    is_number: bool = False


def form_fields(kind: Any) -> tuple[FormField, ...]:
    """Return the fields of a struct of choices, their combinations, flags, numbers and texts.

    Raises:
        TypeError: a field has another type.
    """
    struct = type_info(kind)
    assert isinstance(struct, StructType)
    sentences, hints = field_descriptions(kind), get_type_hints(kind)
    return tuple(
        _form_field(each.name, bare_type(each.type), sentences.get(each.name, ""), hints[each.name])
        for each in struct.fields
    )


def _form_field(name: str, kind: Any, description: str, hint: Any) -> FormField:
    parse: Callable[[str], object] = str
    match kind:
        case LiteralType():
            choices = get_args(hint)  # in the order of the schema; msgspec sorts them
        case BoolType():
            choices, parse = ("yes", "no"), _flag
        case IntType():
            choices, parse = (), _number
        case VarTupleType(item_type=LiteralType()):
            item = get_args(hint)[0]
            choices, parse = _combinations(get_args(item)), _several
        case VarTupleType(item_type=item) if isinstance(bare_type(item), StrType):
            choices, parse = (), _texts
        case _:
            raise TypeError(f"there is no form field for `{name}`, {kind}")
    return FormField(
        name=name,
        description=description,
        choices=choices,
        parse=parse,
        is_number=isinstance(kind, IntType),
    )


def _flag(text: str) -> object:
    """Return a flag, or the text, for the schema to reject by its path."""
    return {"yes": True, "no": False}.get(text, text)


def _combinations(choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return each choice, and each combination of several."""
    counts = range(1, len(choices) + 1)
    return tuple(SEPARATOR.join(each) for count in counts for each in combinations(choices, count))


def _several(text: str) -> object:
    return text.split(SEPARATOR)


def _texts(text: str) -> object:
    return text.replace(SEPARATOR[0], " ").split()


def _number(text: str) -> object:
    """Return a number, or the text, for the schema to reject by its path."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX
    return int(text) if is_number else text


async def form_values(request: web.Request) -> dict[str, str]:
    """Return the texts of a posted form; of a field that is given twice, the last.

    Raises:
        CallError: it is not a form, or cannot be read.
    """
    async with reading(request):
        form = await request.post()
    return {name: value.strip() for name, value in form.items() if isinstance(value, str)}


NONCE = "nonce"
"""Hidden field with a random value, another one in each rendered form."""

DERIVED_ID_BYTES = 8


def derived_id(form: Mapping[str, str]) -> str:
    """Return an id derived from the values of a form.

    A form that a browser posts again, because no response arrived, publishes the same ids, which
    the ledger decides once. The nonce keeps equal entries in two forms apart.
    """
    if not form.get(NONCE):
        return new_id()
    return hashlib.blake2b(encode(sorted(form.items())), digest_size=DERIVED_ID_BYTES).hexdigest()


OPTION_FIELDS = form_fields(Options)
"""The options of a file."""


def option_values(form: Mapping[str, str]) -> dict[str, object]:
    """Return the options in a form; an empty one is left out."""
    return {each.name: each.parse(form[each.name]) for each in OPTION_FIELDS if form.get(each.name)}
