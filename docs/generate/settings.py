"""Page of the settings: name, environment variable, type, default, meaning."""

import json
from typing import Any

from docs.generate.markdown import code, codes, head, page, table
from streams.settings import Settings, setting_paths, variable_name

Schema = dict[str, Any]

TOP_LEVEL = "Top level"

BOUNDS = {"exclusiveMinimum": "> ", "minimum": "≥ ", "maximum": "≤ "}

TYPES = {"object": "table", "array": "list", "null": ""}
"""Types of JSON Schema by their names in TOML."""


def page_of_settings() -> str:
    """Return the page."""
    introduction = (
        "Sources, in this order: environment variable, `clipmill.toml` in the working directory "
        "(or the file that `CLIPMILL_CONFIG` names), default. A setting `group.name` is the key "
        "`name` of the table `[group]` in the file. Tables and lists are JSON in an environment "
        "variable. An unknown or invalid setting aborts the start. `clipmill config` prints the "
        "values in use and the source of each."
    )
    whole = Settings.model_json_schema(mode="validation")
    groups: dict[str, list[tuple[str, ...]]] = {}
    for path, description in setting_paths():
        field = _schema_of(whole, path)
        row = (
            code(".".join(path)),
            code(variable_name(path)),
            _type(field, whole),
            _default(field),
            description,
        )
        groups.setdefault(path[0] if len(path) > 1 else TOP_LEVEL, []).append(row)
    columns = ("setting", "environment variable", "type", "default", "meaning")
    order = [TOP_LEVEL, *(name for name in groups if name != TOP_LEVEL)]
    return page(
        head("Settings", introduction),
        *(f"## {name}\n\n{table(columns, groups[name])}" for name in order),
    )


def _schema_of(whole: Schema, path: tuple[str, ...]) -> Schema:
    """Return the schema of a setting, with its default."""
    node = whole
    for name in path:
        field: Schema = _resolved(node, whole)["properties"][name]
        node = field
    return node


def _resolved(node: Schema, whole: Schema) -> Schema:
    reference: str = node.get("$ref", "")
    return whole["$defs"][reference.rpartition("/")[2]] if reference else node


def _type(field: Schema, whole: Schema) -> str:
    field = _resolved(field, whole)
    if "anyOf" in field:
        kinds = dict.fromkeys(_type(each, whole) for each in field["anyOf"])
        return " or ".join(filter(None, kinds))
    if "enum" in field:
        return codes(field["enum"])
    if field.get("format") == "password":
        return "secret"
    if field.get("format") == "path":
        return "path"
    bounds = [f"{sign}{field[name]}" for name, sign in BOUNDS.items() if name in field]
    kind: str = field.get("type", "")
    return " ".join([TYPES.get(kind, kind), *bounds])


def _default(field: Schema) -> str:
    """Return the default as JSON; empty for none, and where the meaning states how it is chosen."""
    default = field.get("default")
    return "" if default is None else code(json.dumps(default, ensure_ascii=False))
