"""Commands of other packages and layers, found by the entry-point group ``clipmill.commands``."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import click

GROUP = "clipmill.commands"
"""Entry points of this group name click commands; the name is what is typed."""

_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}


def plugged_names(points: Iterable[EntryPoint] | None = None) -> list[str]:
    """Return the names of the installed commands, without importing them."""
    return sorted({point.name for point in _points(points)})


def plugged_command(name: str, points: Iterable[EntryPoint] | None = None) -> click.Command | None:
    """Return an installed command, None when there is none of this name.

    One that cannot be loaded says so when it is called, and is no harm to the others.
    """
    point = next((each for each in _points(points) if each.name == name), None)
    return None if point is None else _load(point)


def _points(points: Iterable[EntryPoint] | None) -> Iterable[EntryPoint]:
    return entry_points(group=GROUP) if points is None else points


def _load(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        return _broken(point, f"{type(error).__name__}: {error}")
    if not isinstance(command, click.Command):
        return _broken(point, "it is no click command")
    return command


def _broken(point: EntryPoint, why: str) -> click.Command:
    text = f"The command {point.name} ({point.value}) cannot be loaded: {why}"

    def fail() -> None:
        raise click.ClickException(text)

    return click.Command(point.name, callback=fail, help=text, context_settings=_ANYTHING)
