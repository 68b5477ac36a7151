"""The JSON Schemas of all messages as `components/schemas` of one AsyncAPI document.

Bundled, because viewers open one document and follow no external references. In AsyncAPI's own
schema format, draft-07 with additions: the official parser checks that one and ignores 2020-12. The
schemas accept the same bodies as the files in `schemas/json`.
"""

from collections.abc import Iterable
from typing import Any

from schemas.contract.json_schema import Message, json_schema

REFERENCE = "#/components/schemas/"
"""Prefix of every reference, followed by the name of the schema."""

_DEFINITIONS = "#/$defs/"
_DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are data, not schemas."""

_DROPPED = frozenset({"$schema", "$id", "$defs", "discriminator"})
"""An ``$id`` would become the base of the references. OpenAPI's ``discriminator`` is an object with
a mapping; AsyncAPI's is the name of a property whose values are names of schemas. The members of
our unions have a required tag with one value each, which is equivalent."""


def message_schemas(messages: Iterable[Message]) -> dict[str, dict[str, Any]]:
    """Return the schemas of messages and of their structs, sorted by name.

    Raises:
        ValueError: two different schemas have the same name.
    """
    found: dict[str, dict[str, Any]] = {}
    for message in messages:
        schema = json_schema(message)
        for name, definition in {message.schema_name: schema, **schema["$defs"]}.items():
            bundled = _bundle(definition)
            if found.setdefault(name, bundled) != bundled:
                raise ValueError(f"two different schemas are called {name}")
    return dict(sorted(found.items()))


def _bundle(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: _value(key, value) for key, value in schema.items() if key not in _DROPPED}
    if "prefixItems" in kept:
        # prefixItems and items of 2020-12 are items and additionalItems in draft-07.
        kept["additionalItems"] = kept.pop("items")
        kept["items"] = kept.pop("prefixItems")
    return kept


def _value(key: str, value: Any) -> Any:
    if key in _DATA:
        return value
    if key == "$ref":
        return REFERENCE + value.removeprefix(_DEFINITIONS)
    if key == "properties":
        return {name: _bundle(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_bundle(each) if isinstance(each, dict) else each for each in value]
    return _bundle(value) if isinstance(value, dict) else value
