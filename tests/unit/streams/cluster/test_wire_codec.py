import importlib.util
from types import ModuleType
from typing import Any

import pytest
from aiokafka.protocol import fetch, produce
from aiokafka.protocol.types import Array, Bytes, Int8, Int16, Int32, Int64, Schema, String
from hypothesis import given
from hypothesis import strategies as st

from streams.cluster.wire_codec import PackedSchema, install, pack

NEWEST_RESPONSES = {"FetchResponse_v11", "ProduceResponse_v8"}

BITS = {Int8: 8, Int16: 16, Int32: 32, Int64: 64}


def unpatched(module: ModuleType) -> ModuleType:
    """Return a copy of a module of aiokafka, with its own schemas."""
    spec = importlib.util.spec_from_file_location(f"{module.__name__}_unpatched", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


def messages() -> list[Any]:
    found = []
    for module in (fetch, produce):
        copy = unpatched(module)
        for name, message in vars(copy).items():
            if "_v" in name:
                found.append(pytest.param(message, getattr(module, name), id=name))
    return found


install()
MESSAGES = messages()


def values_of(field: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a field."""
    if isinstance(field, Schema):
        return st.tuples(*map(values_of, field.fields))
    if isinstance(field, Array):
        return st.none() | st.lists(values_of(field.array_of), max_size=3)
    if isinstance(field, String):
        return st.none() | st.text(max_size=20)
    if field is Bytes:
        return st.none() | st.binary(max_size=40)
    limit = 2 ** (BITS[field] - 1)
    return st.integers(-limit, limit - 1)


def test_every_version_of_fetch_and_produce_is_packed() -> None:
    assert len(MESSAGES) == 24 + 18
    assert all(isinstance(each.values[1].SCHEMA, PackedSchema) for each in MESSAGES)


@pytest.mark.parametrize(("original", "packed"), MESSAGES)
@given(data=st.data())
def test_packed_message_has_the_bytes_and_values_of_aiokafka(
    original: Any, packed: Any, data: st.DataObject
) -> None:
    values = data.draw(values_of(original.SCHEMA))
    encoded = original(*values).encode()
    assert packed(*values).encode() == encoded
    decoded = packed.decode(encoded)
    assert vars(decoded) == vars(original.decode(encoded))
    assert repr(decoded) == repr(original.decode(encoded))


@pytest.mark.parametrize(
    ("original", "packed"), [each for each in MESSAGES if each.id in NEWEST_RESPONSES]
)
@given(data=st.data())
def test_truncated_message_raises_value_error(
    original: Any, packed: Any, data: st.DataObject
) -> None:
    encoded = original(*data.draw(values_of(original.SCHEMA))).encode()
    end = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ValueError, match=r"ends within|underrun|Error encountered"):
        packed.decode(encoded[:end])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        pytest.param((1,), r"1 values for the 2 fields \('a', 'b'\)", id="too few"),
        pytest.param((1, 2, 3), r"3 values for the 2 fields", id="too many"),
        pytest.param((1, 2**31), r"\('a', 'b'\) cannot hold \(1, 2147483648\)", id="range"),
        pytest.param((1, "x"), r"\('a', 'b'\) cannot hold \(1, 'x'\)", id="type"),
    ],
)
def test_value_that_does_not_fit_raises_value_error(values: Any, problem: str) -> None:
    schema = pack(Schema(("a", Int8), ("b", Int32)))
    with pytest.raises(ValueError, match=problem):
        schema.encode(values)


def test_second_installation_changes_nothing() -> None:
    before = fetch.FetchRequest_v11.SCHEMA
    install()
    assert fetch.FetchRequest_v11.SCHEMA is before
