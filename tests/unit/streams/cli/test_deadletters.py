"""The `deadletters` command without a broker."""

import pytest
from click.testing import CliRunner

from streams.cli import cli
from streams.cli.deadletters import dead_letter_text
from streams.deadletters.presentation import advice, dead_letter_fields
from tests.integration.kafka_client import closed_port
from tests.unit.streams.deadletters.builders import stored_dead_letter

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


def test_long_keys_and_headers_are_cut() -> None:
    text = dead_letter_text(stored_dead_letter(headers=(("a", b"x" * 3_000),)), 1)
    assert "  a: " + "x" * 2_000 + "… and 1000 bytes more" in text


def test_escape_sequences_in_headers_are_not_printed() -> None:
    text = dead_letter_text(
        stored_dead_letter(headers=(("a\x1b[31m", b"\x1b[31m"), ("cookie", b"s3"))), 1
    )
    assert "\x1b" not in text
    assert "s3" not in text


@pytest.mark.parametrize("state", ["waiting", "parked", "replayed", "resolved"])
def test_each_state_has_advice(state: str) -> None:
    mark = None if state in ("waiting", "parked") else state
    dead_letter = stored_dead_letter(state=mark, replays=int(state == "parked"))
    assert dead_letter_fields(dead_letter, 1)["state"] == state
    assert advice(dead_letter, dead_letter.state(1)) in dead_letter_text(dead_letter, 1)
