"""Commands installed by entry points."""

from importlib.metadata import EntryPoint
from typing import Any

import click
import pytest
from click.testing import CliRunner

from streams import cli as module
from streams.cli import COMMANDS, GROUP, cli, plugin_command, plugin_names


@click.command()
def mine() -> None:
    """Say hello."""
    click.echo("hello")


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


MINE = entry_point("mine", f"{__name__}:mine")
BROKEN = {
    "module is missing": (entry_point("bad", "clipmill_no_such_module:x"), "ModuleNotFoundError"),
    "attribute is missing": (entry_point("bad", f"{__name__}:missing"), "AttributeError"),
    "no command": (entry_point("bad", f"{__name__}:GROUP"), "it is not a click command"),
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    points: list[EntryPoint] = []

    def entry_points(group: str) -> list[EntryPoint]:
        return [each for each in points if each.group == group]

    monkeypatch.setattr(module, "entry_points", entry_points)
    return points


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, arguments)


def test_plug_in_command_is_listed_and_runs(installed: list[EntryPoint]) -> None:
    installed.append(MINE)
    assert run("mine").output == "hello\n"
    assert "Say hello." in run("--help").output


def test_only_own_commands_without_plug_ins(installed: list[EntryPoint]) -> None:
    assert installed == []
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)
    assert run("mine").exit_code == 2


def test_plug_in_cannot_replace_an_own_command(installed: list[EntryPoint]) -> None:
    installed.append(entry_point("config", f"{__name__}:mine"))
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)
    assert module.cli.get_command(click.Context(cli), "config") is not mine


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_plug_in_is_reported_and_the_others_run(
    installed: list[EntryPoint], broken: EntryPoint, reason: str
) -> None:
    installed += [broken, MINE]
    result = run("bad", "--any", "thing")
    assert result.exit_code == 1
    assert f"The command bad ({broken.value}) cannot be loaded: " in result.output
    assert reason in result.output
    assert "Say hello." in run("--help").output
    assert run("mine").exit_code == 0


def test_listing_plug_ins_imports_none() -> None:
    points = [
        entry_point("b", "clipmill_no_such_module:x"),
        entry_point("a", "x:y"),
        entry_point("a", "z:y"),
    ]
    assert plugin_names(points) == ["a", "b"]
    assert plugin_command("c", points) is None
