"""`clipmill config`: what is in force, and where each value came from."""

import json
import os
import pathlib
import re
import tomllib
from typing import Any

import click
from pydantic import BaseModel, SecretStr

from schemas.redaction import redact
from streams.settings import config_file, load_settings, setting_paths, variable_name

Path = tuple[str, ...]


@click.command()
def config() -> None:
    """Print every setting: value, source, meaning. Secrets are masked."""
    settings = load_settings()
    file = _read_file()
    for path, description in setting_paths():
        value = _show(_value(settings, path))
        click.echo(f"{'.'.join(path)} = {value}  # {_source(path, file)}; {description}")


def _value(settings: Any, path: Path) -> Any:
    for name in path:
        settings = getattr(settings, name)
    return settings


def _show(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, str | pathlib.Path):
        return f'"{_without_login(str(value))}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_show_one_of_several, value)) + "]"
    if isinstance(value, BaseModel):
        return _show(dict(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {_show(each)}' for name, each in value.items()) + "}"
    return "none" if value is None else str(value)


def _show_one_of_several(value: Any) -> str:
    """Return what is shown of an entry of a list: texts there are pages, their queries secrets."""
    return _show(redact(value) if isinstance(value, str) else value)


def _without_login(text: str) -> str:
    """Return a URL without the login that it may carry."""
    return re.sub(r"(?<=://)[^/?#]+@", "********@", text)


def _source(path: Path, file: dict[str, Any]) -> str:
    variables = {name.upper(): value for name, value in os.environ.items()}
    group = variable_name(path[:1])
    if variable_name(path) in variables:
        return f"environment {variable_name(path)}"
    if group in variables and _has(json.loads(variables[group]), path[1:]):
        return f"environment {group}"
    return f"file {config_file()}" if _has(file, path) else "default"


def _has(node: Any, path: Path) -> bool:
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
