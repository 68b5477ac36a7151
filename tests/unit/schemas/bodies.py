"""Hypothesis strategies for JSON bodies of any message, derived from its type."""

import base64
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect as types

FIRST = datetime(2000, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone
LAST = datetime(2100, 1, 1)  # noqa: DTZ001

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def bodies(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for valid bodies of a message, as plain JSON values."""
    return _strategy(types.type_info(kind))


def _strategy(node: Any) -> st.SearchStrategy[Any]:
    found: st.SearchStrategy[Any]
    match node:
        case types.Metadata(
            type=types.VarTupleType(min_length=low),
            extra_json_schema={"items": {"type": "string"}},
        ):
            found = st.lists(st.text(max_size=40), min_size=low or 0, max_size=3)
        case types.Metadata(type=inner):
            found = _strategy(inner)
        case types.StructType():
            found = _struct(node)
        case types.UnionType(types=members):
            found = st.one_of([_strategy(each) for each in members])
        case types.VarTupleType(item_type=item, min_length=low):
            found = st.lists(_strategy(item), min_size=low or 0, max_size=2)
        case types.TupleType(item_types=items):
            found = st.tuples(*map(_strategy, items)).map(list)
        case types.DictType(key_type=key, value_type=value):
            found = st.dictionaries(_strategy(key), _strategy(value), max_size=3)
        case types.EnumType(cls=names):
            found = st.sampled_from([each.value for each in names])
        case types.LiteralType(values=values):
            found = st.sampled_from(values)
        case _:
            found = _scalar(node)
    return found


def _scalar(node: Any) -> st.SearchStrategy[Any]:
    match node:
        case types.StrType(pattern=str(pattern)):
            return st.from_regex(pattern, fullmatch=True)
        case types.StrType(min_length=low, max_length=high):
            return st.text(min_size=low or 0, max_size=min(high or 40, 40))
        case types.IntType(ge=low, gt=above, le=high):
            first = above + 1 if above is not None else low
            return st.integers(-(2**53) if first is None else first, high or 2**53)
        case types.FloatType(ge=least, le=most):
            return st.floats(least, most, allow_nan=False, allow_infinity=False)
        case types.DateTimeType():
            moments = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
            return moments.map(datetime.isoformat)
    return _PLAIN[type(node)]


_PLAIN: dict[type, st.SearchStrategy[Any]] = {
    types.BoolType: st.booleans(),
    types.NoneType: st.none(),
    types.AnyType: json_values,
    types.RawType: json_values,
    types.BytesType: st.binary(max_size=20).map(lambda value: base64.b64encode(value).decode()),
}


def _struct(node: types.StructType) -> st.SearchStrategy[dict[str, Any]]:
    fields = {field.encode_name: _strategy(field.type) for field in node.fields}
    needed = {field.encode_name for field in node.fields if field.required}
    optional = {name: fields[name] for name in fields.keys() - needed}
    tag = {node.tag_field: node.tag} if node.tag_field else {}
    return st.fixed_dictionaries(
        {name: fields[name] for name in sorted(needed)},
        optional={name: optional[name] for name in sorted(optional)},
    ).map(lambda body: {**tag, **body})
