"""Page of the command line: usage, arguments and options of every command."""

import inspect
from collections.abc import Iterator

import click

from docs.generate.markdown import code, head, page, table
from streams.cli import cli

WIDTH = 1_000
"""Columns: one line for every usage and help text."""


def page_of_commands() -> str:
    """Return the page."""
    introduction = (
        "All commands with their options, as printed by `--help`. Commands connect to "
        "`kafka.bootstrap` or `--bootstrap` and read the same [settings](settings.md) as the "
        "service. Exit status: 0 for success, 1 for a failed command, 2 for wrong usage and where "
        "a command states so. Plug-ins add commands ([entry points](entry-points.md))."
    )
    return page(
        head("Command line", introduction),
        *(_section(command, path) for path, command in commands()),
    )


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, groups before their commands."""
    yield from _below(cli, "clipmill")


def _below(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, **cli.context_settings)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _below(found, f"{path} {name}")


def _section(command: click.Command, path: str) -> str:
    context = click.Context(
        command,
        info_name=path,
        max_content_width=WIDTH,
        terminal_width=WIDTH,
        **cli.context_settings,
    )
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## {path}", f"```text\n{usage}\n```", inspect.cleandoc(command.help or "")]
    records = [
        record
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and (record := parameter.get_help_record(context)) is not None
    ]
    if records:
        rows = [(code(names), text) for names, text in records]
        parts.append(table(("option", "meaning"), rows))
    return "\n\n".join(filter(None, parts))
