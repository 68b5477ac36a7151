"""Commands that entry points bring."""

from importlib.metadata import EntryPoint
from typing import Any

import click
import pytest
from click.testing import CliRunner

from streams import cli as module
from streams.cli import COMMANDS, cli, plugged
from streams.cli.plugged import GROUP, plugged_command, plugged_names


@click.command()
def mine() -> None:
    """Say hello."""
    click.echo("hello")


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


MINE = point("mine", f"{__name__}:mine")
BROKEN = {
    "module is missing": (point("bad", "clipmill_no_such_module:x"), "ModuleNotFoundError"),
    "attribute is missing": (point("bad", f"{__name__}:missing"), "AttributeError"),
    "no command": (point("bad", f"{__name__}:GROUP"), "it is no click command"),
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    points: list[EntryPoint] = []

    def entry_points(group: str) -> list[EntryPoint]:
        return [each for each in points if each.group == group]

    monkeypatch.setattr(plugged, "entry_points", entry_points)
    return points


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, arguments)


def test_a_plugged_command_is_a_command_like_others(installed: list[EntryPoint]) -> None:
    installed.append(MINE)
    assert run("mine").output == "hello\n"
    assert "Say hello." in run("--help").output


def test_without_any_there_are_clipmill_s_own(installed: list[EntryPoint]) -> None:
    assert installed == []
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)
    assert run("mine").exit_code == 2


def test_none_can_take_the_place_of_clipmill_s_own(installed: list[EntryPoint]) -> None:
    installed.append(point("config", f"{__name__}:mine"))
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)
    assert module.cli.get_command(click.Context(cli), "config") is not mine


@pytest.mark.parametrize(("broken", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_one_says_so_and_harms_no_other(
    installed: list[EntryPoint], broken: EntryPoint, why: str
) -> None:
    installed += [broken, MINE]
    answer = run("bad", "--any", "thing")
    assert answer.exit_code == 1
    assert f"The command bad ({broken.value}) cannot be loaded: " in answer.output
    assert why in answer.output
    assert "Say hello." in run("--help").output
    assert run("mine").exit_code == 0


def test_listing_imports_nothing() -> None:
    points = [point("b", "clipmill_no_such_module:x"), point("a", "x:y"), point("a", "z:y")]
    assert plugged_names(points) == ["a", "b"]
    assert plugged_command("c", points) is None
