"""The JSON Schemas of all messages as `components/schemas` of one AsyncAPI document.

Bundled, because viewers open one document and follow no references out of it. In AsyncAPI's own
schema format, draft-07 with additions: the official parser checks that one, and passes over 2020-12
unread. The schemas accept the same bodies as the files in `schemas/json`.
"""

from typing import Any

from schemas.contract.json_schema import MESSAGES, json_schema

REFERENCE = "#/components/schemas/"
"""Begins every reference; the name of the schema follows."""

_DEFINITIONS = "#/$defs/"
_DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are no schemas."""

_DROPPED = frozenset({"$schema", "$id", "$defs", "discriminator"})
"""An ``$id`` would become the base of the references. OpenAPI's ``discriminator`` is an object with
a mapping; AsyncAPI's is the name of a property whose values are names of schemas. The members of
our unions have a required tag with one value each, which says the same."""


def message_schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas of all messages and of the structs in them, in the order of their names.

    Raises:
        ValueError: two different schemas have the same name.
    """
    found: dict[str, dict[str, Any]] = {}
    for message in MESSAGES:
        schema = json_schema(message)
        for name, definition in {message.schema_name: schema, **schema["$defs"]}.items():
            bundled = _bundled(definition)
            if found.setdefault(name, bundled) != bundled:
                raise ValueError(f"two different schemas are called {name}")
    return dict(sorted(found.items()))


def _bundled(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: _value(key, value) for key, value in schema.items() if key not in _DROPPED}
    if "prefixItems" in kept:
        # What 2020-12 calls prefixItems and items, draft-07 calls items and additionalItems.
        kept["additionalItems"] = kept.pop("items")
        kept["items"] = kept.pop("prefixItems")
    return kept


def _value(key: str, value: Any) -> Any:
    if key in _DATA:
        return value
    if key == "$ref":
        return REFERENCE + value.removeprefix(_DEFINITIONS)
    if key == "properties":
        return {name: _bundled(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_bundled(each) if isinstance(each, dict) else each for each in value]
    return _bundled(value) if isinstance(value, dict) else value
