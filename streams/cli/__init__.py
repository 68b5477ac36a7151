"""The `clipmill` command line. Each command is a module of this package, imported on first use.

Higher layers and other packages add commands by entry points, see `streams.cli.plugged`.
"""

import importlib
import sys

import click

from streams.cli.plugged import plugin_command, plugin_names
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
