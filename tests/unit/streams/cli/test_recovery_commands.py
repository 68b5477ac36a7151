"""Commands suggested by errors are commands of the command line."""

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from schemas.error_catalog import MESSAGES, explain
from schemas.errors import ErrorCode
from streams.cli import cli

NAMED = re.compile(r"`clipmill ([a-z]+)")
REQUEST_IDS = ["a", "batch-1/7", "request/replay-2", "0123456789abcdef", "it's"]


def recovery_commands(code: ErrorCode, request_id: str) -> tuple[str, ...]:
    return explain(code, operation="download", url="", request_id=request_id).recovery_options


def find_command(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, name
    return command


@pytest.mark.parametrize("request_id", REQUEST_IDS)
@pytest.mark.parametrize("code", ErrorCode)
def test_every_recovery_command_is_parsed(code: ErrorCode, request_id: str) -> None:
    for line in recovery_commands(code, request_id):
        program, name, *arguments = shlex.split(line)
        context = find_command(name).make_context(name, arguments)
        assert program == "clipmill"
        assert request_id in context.params.values()


@pytest.mark.parametrize("code", ErrorCode)
def test_every_command_named_in_a_message_exists(code: ErrorCode) -> None:
    texts = " ".join([MESSAGES[code].user_message, *MESSAGES[code].suggested_actions])
    for name in NAMED.findall(texts):
        find_command(name)


@pytest.mark.parametrize(
    "name",
    sorted({shlex.split(line)[1] for code in ErrorCode for line in recovery_commands(code, "a")}),
)
def test_every_recovery_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
