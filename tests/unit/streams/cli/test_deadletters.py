"""The `deadletters` command without a broker."""

import pytest
from click.testing import CliRunner

from streams.cli import cli
from tests.integration.kafka_client import closed_port

pytestmark = pytest.mark.usefixtures("own_settings")

SUBCOMMANDS = [
    ["list"],
    ["show", "0-1"],
    ["replay", "--all"],
    ["replay", "--dry-run"],
    ["replay", "0-1"],
    ["replay", "--code", "network"],
    ["resolve", "0-1"],
]


@pytest.mark.parametrize("arguments", SUBCOMMANDS, ids=" ".join)
def test_unavailable_broker_is_reported_in_one_line(arguments: list[str]) -> None:
    address = closed_port()
    result = CliRunner().invoke(cli, ["deadletters", *arguments, "--bootstrap", address])
    assert result.exit_code == 1
    assert f"Error: no broker answers at {address}" in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["list", "--since", "soon"],
            "neither RFC 3339 (such as 2030-01-31T12:00:00Z) nor a time span",
        ),
        (["list", "--state", "lost"], "Invalid value for '--state'"),
        (["replay"], "select dead letters by ID, by a filter option such as --code, or with --all"),
        (["replay", "--limit", "5"], "select dead letters by ID"),
        (["replay", "--rate", "0"], "Invalid value for '--rate'"),
        (["replay", "--max-replays", "0"], "Invalid value for '--max-replays'"),
        (["resolve"], "Missing argument 'ID...'"),
        (["show"], "Missing argument 'ID'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_error_is_explained(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(cli, ["deadletters", *arguments])
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize("subcommand", ["list", "show", "replay", "resolve"])
def test_every_subcommand_has_help(subcommand: str) -> None:
    assert CliRunner().invoke(cli, ["deadletters", subcommand, "--help"]).exit_code == 0
