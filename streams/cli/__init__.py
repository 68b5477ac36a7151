"""The `clipmill` command line. Each command is a module of this package, imported on first use.

Higher layers and other packages add commands by entry points in ``clipmill.commands``.
"""

import importlib
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import click

from streams.settings import SettingsError

COMMANDS = {
    "up": "streams.cli.up:up",
    "worker": "streams.cli.worker:worker",
    "submit": "streams.cli.submit:submit",
    "results": "streams.cli.results:results",
    "watch": "streams.cli.watch:watch",
    "status": "streams.cli.status:status",
    "requests": "streams.cli.requests:requests",
    "console": "streams.cli.console:console",
    "retry": "streams.cli.retry:retry",
    "cancel": "streams.cli.cancel:cancel",
    "refresh": "streams.cli.refresh:refresh",
    "breakers": "streams.cli.breakers:breakers",
    "resume": "streams.cli.resume:resume",
    "deadletters": "streams.cli.deadletters:deadletters",
    "topics": "streams.cli.topics:topics",
    "config": "streams.cli.config:config",
}


GROUP = "clipmill.commands"
"""Entry-point group of click commands; the entry point's name is the command's."""

_ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True}


class LazyGroup(click.Group):
    """A group that imports a command only on use.

    Keeps the start cheap, and that of the engine processes, which import the main module again.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (the library's)
        return [*COMMANDS, *(name for name in plugin_names() if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return plugin_command(cmd_name)
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


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


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clipmill")
def cli() -> None:
    """Clipmill turns video URLs into files, by way of Kafka."""


def main() -> None:
    """Run the command line; an expected error prints one line and exits with status 1."""
    try:
        cli.main(standalone_mode=True)
    except SettingsError as error:
        click.echo(f"clipmill: {error}", err=True)
        sys.exit(1)
