"""`clipmill config`: print the effective settings and the source of each value."""

import json
import os
import pathlib
import re
import tomllib
from typing import Any

import click
from pydantic import BaseModel, SecretStr

from schemas.redaction import redact
from streams.settings import (
    UnknownSettingError,
    config_file,
    load_settings,
    setting_paths,
    variable_name,
)

Path = tuple[str, ...]


@click.command()
def config() -> None:
    """Print every setting: value, source, meaning. Secrets are masked.

    An unknown setting is reported after a list of all names.
    """
    try:
        settings = load_settings()
    except UnknownSettingError:
        for path, description in setting_paths():
            click.echo(f"{'.'.join(path)}  # {description}")
        raise
    file = _read_file()
    for path, description in setting_paths():
        value = _format(_value(settings, path))
        click.echo(f"{'.'.join(path)} = {value}  # {_source(path, file)}; {description}")


def _value(settings: Any, path: Path) -> Any:
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


def _source(path: Path, file: dict[str, Any]) -> str:
    variables = {name.upper(): value for name, value in os.environ.items()}
    group = variable_name(path[:1])
    if variable_name(path) in variables:
        return f"environment {variable_name(path)}"
    if group in variables and _contains(json.loads(variables[group]), path[1:]):
        return f"environment {group}"
    return f"file {config_file()}" if _contains(file, path) else "default"


def _contains(node: Any, path: Path) -> bool:
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
