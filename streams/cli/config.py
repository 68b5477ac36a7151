"""`clipmill config`: what is in force, and where each value came from."""

import os
import tomllib
from typing import Any

import click
from pydantic import SecretStr

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
    if isinstance(value, str):
        return f'"{_without_login(value)}"'
    return "none" if value is None else str(value)


def _without_login(text: str) -> str:
    """Return a URL without the login that it may carry."""
    scheme, separator, rest = text.partition("://")
    login, at, host = rest.rpartition("@")
    return f"{scheme}{separator}********@{host}" if separator and at and login else text


def _source(path: Path, file: dict[str, Any]) -> str:
    if variable_name(path) in {name.upper() for name in os.environ}:
        return f"environment {variable_name(path)}"
    node: Any = file
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return "default" if node is None else f"file {config_file()}"


def _read_file() -> dict[str, Any]:
    try:
        return tomllib.loads(config_file().read_text())
    except FileNotFoundError:
        return {}
