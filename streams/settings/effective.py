"""The effective settings, human-readable: value, source and meaning. Secrets are masked.

Printed by `clipmill config`, and shown by the console.
"""

import json
import os
import pathlib
import re
import tomllib
from typing import Any

import msgspec
from pydantic import BaseModel, SecretStr

from schemas.redaction import redact
from streams.settings.loading import setting_paths, variable_name
from streams.settings.model import Settings, config_file

DEFAULT = "default"

ARGUMENT = "command line"

SettingPath = tuple[str, ...]


class EffectiveSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as it is in use.

    Attributes:
        name: its path, such as ``kafka.bootstrap``.
        value: in the notation of TOML, as far as it has one.
        source: `DEFAULT`, `ARGUMENT`, or which variable or file has it.
        description: its meaning.
    """

    name: str
    value: str
    source: str
    description: str

    @property
    def is_set(self) -> bool:
        """Whether an operator has set it."""
        return self.source != DEFAULT

    @property
    def group(self) -> str:
        """The table that has it; empty for one of the top level."""
        return self.name.rpartition(".")[0]


def effective_settings(settings: Settings) -> list[EffectiveSetting]:
    """Return all settings; environment and file are read as they are now."""
    file, loaded = _read_file(), Settings()
    return [
        EffectiveSetting(
            name=".".join(path),
            value=_format(_value(settings, path)),
            source=_source(path, file)
            if _value(settings, path) == _value(loaded, path)
            else ARGUMENT,
            description=description,
        )
        for path, description in setting_paths()
    ]


def _value(settings: Any, path: SettingPath) -> Any:
    for name in path:
        settings = getattr(settings, name)
    return settings


def _format(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, str | pathlib.Path):
        return f'"{_without_login(str(value))}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_format_item, value)) + "]"
    if isinstance(value, BaseModel):
        return _format(dict(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {_format(each)}' for name, each in value.items()) + "}"
    return "none" if value is None else str(value)


def _format_item(value: Any) -> str:
    """Format an entry of a list; strings there are page URLs, whose queries are secrets."""
    return _format(redact(value) if isinstance(value, str) else value)


def _without_login(text: str) -> str:
    """Mask the user and password of a URL."""
    return re.sub(r"(?<=://)[^/?#]+@", "********@", text)


def _source(path: SettingPath, file: dict[str, Any]) -> str:
    variables = {name.upper(): value for name, value in os.environ.items()}
    group = variable_name(path[:1])
    if variable_name(path) in variables:
        return f"environment {variable_name(path)}"
    if group in variables and _contains(json.loads(variables[group]), path[1:]):
        return f"environment {group}"
    return f"file {config_file()}" if _contains(file, path) else DEFAULT


def _contains(node: Any, path: SettingPath) -> bool:
    for name in path:
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return True


def _read_file() -> dict[str, Any]:
    try:
        return tomllib.loads(config_file().read_text())
    except FileNotFoundError:
        return {}
