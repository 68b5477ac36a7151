"""Plug-in commands: entry points of other packages and layers in ``clipmill.commands``."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import click

GROUP = "clipmill.commands"
"""Entry-point group of click commands; the entry point's name is the command's."""

_ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True}


def plugin_names(points: Iterable[EntryPoint] | None = None) -> list[str]:
    """List the installed commands without importing them."""
    return sorted({point.name for point in _points(points)})


def plugin_command(name: str, points: Iterable[EntryPoint] | None = None) -> click.Command | None:
    """Load an installed command, None if there is none of this name.

    A command that cannot be loaded fails with the reason when called; the others stay usable.
    """
    point = next((each for each in _points(points) if each.name == name), None)
    return None if point is None else _load(point)


def _points(points: Iterable[EntryPoint] | None) -> Iterable[EntryPoint]:
    return entry_points(group=GROUP) if points is None else points


def _load(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        return _failing_command(point, f"{type(error).__name__}: {error}")
    if not isinstance(command, click.Command):
        return _failing_command(point, "it is not a click command")
    return command


def _failing_command(point: EntryPoint, why: str) -> click.Command:
    text = f"The command {point.name} ({point.value}) cannot be loaded: {why}"

    def fail() -> None:
        raise click.ClickException(text)

    return click.Command(point.name, callback=fail, help=text, context_settings=_ANY_ARGUMENTS)
