from typing import Annotated

import msgspec
import pytest

from schemas.contract.descriptions import OPAQUE, describe, structs_of


class Inner(msgspec.Struct):
    """Deep inside."""

    raw: msgspec.Raw


class Base(msgspec.Struct):
    """What all have.

    Attributes:
        name: told by the base.
        size: told by the base,
            on two lines.
    """

    name: str
    size: int


class Message(Base):
    """A message
    on ``two`` lines.

    Attributes:
        name: told by the message.
    """

    one: Inner | None = None
    many: tuple[Inner, ...] = ()
    more: dict[str, Annotated[int, msgspec.Meta(gt=0)]] = {}
    free: msgspec.Raw | None = None


class Left(msgspec.Struct, tag=True):
    inner: Inner


class Right(msgspec.Struct, tag=True):
    inner: Inner


def described(struct: type[msgspec.Struct]) -> dict[str, str | None]:
    definition = msgspec.json.schema(struct)["$defs"][struct.__name__]
    describe(definition, struct)
    fields = definition["properties"].items()
    return {"": definition["description"]} | {
        name: field.get("description") for name, field in fields
    }


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Inner, {"Inner"}),
        (Message, {"Message", "Inner"}),
        (Left | Right, {"Left", "Inner", "Right"}),
        (dict[str, Inner], {"Inner"}),
        (int, set()),
    ],
    ids=["alone", "nested", "union", "values", "no struct"],
)
def test_structs_are_found_in_any_type(kind: object, names: set[str]) -> None:
    found = structs_of(kind)
    assert found.keys() == names
    assert all(struct.__name__ == name for name, struct in found.items())


def test_attribute_docs_become_field_descriptions() -> None:
    assert described(Message) == {
        "": "A message on `two` lines.",
        "name": "told by the message.",
        "size": "told by the base, on two lines.",
        "one": None,
        "many": None,
        "more": None,
        "free": OPAQUE,
    }


def test_opaque_fields_are_described_as_opaque() -> None:
    assert described(Inner) == {"": "Deep inside.", "raw": OPAQUE}


def test_struct_without_docstring_inherits_no_description() -> None:
    class Undocumented(Base):
        pass

    assert described(Undocumented)[""] == ""
