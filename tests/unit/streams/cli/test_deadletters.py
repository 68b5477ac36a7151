"""The command as far as it goes without a broker."""

import pytest
from click.testing import CliRunner

from streams.cli import cli
from tests.integration.kafka_side import closed_port

pytestmark = pytest.mark.usefixtures("own_settings")

ACTS = [["list"], ["show", "0-1"], ["replay"], ["replay", "--dry-run"], ["resolve", "0-1"]]


@pytest.mark.parametrize("arguments", ACTS, ids=" ".join)
def test_without_a_broker_one_readable_line_says_so(arguments: list[str]) -> None:
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
        (["replay", "--rate", "0"], "Invalid value for '--rate'"),
        (["replay", "--max-replays", "0"], "Invalid value for '--max-replays'"),
        (["resolve"], "Missing argument 'ID...'"),
        (["show"], "Missing argument 'ID'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_use_is_explained(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(cli, ["deadletters", *arguments])
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize("act", ["list", "show", "replay", "resolve"])
def test_every_act_is_explained(act: str) -> None:
    assert CliRunner().invoke(cli, ["deadletters", act, "--help"]).exit_code == 0
