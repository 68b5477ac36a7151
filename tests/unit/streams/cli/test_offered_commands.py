"""What errors offer can be typed: every command named in them is one of the command line."""

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


def offered(code: ErrorCode, request_id: str) -> tuple[str, ...]:
    return explain(code, operation="download", url="", request_id=request_id).recovery_options


def command_named(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, name
    return command


@pytest.mark.parametrize("request_id", REQUEST_IDS)
@pytest.mark.parametrize("code", ErrorCode)
def test_every_offered_command_is_understood(code: ErrorCode, request_id: str) -> None:
    for line in offered(code, request_id):
        program, name, *arguments = shlex.split(line)
        context = command_named(name).make_context(name, arguments)
        assert program == "clipmill"
        assert request_id in context.params.values()


@pytest.mark.parametrize("code", ErrorCode)
def test_every_command_in_an_advice_exists(code: ErrorCode) -> None:
    texts = " ".join([MESSAGES[code].user_message, *MESSAGES[code].suggested_actions])
    for name in NAMED.findall(texts):
        command_named(name)


@pytest.mark.parametrize(
    "name", sorted({shlex.split(line)[1] for code in ErrorCode for line in offered(code, "a")})
)
def test_every_offered_command_explains_itself(name: str) -> None:
    answer = CliRunner().invoke(cli, [name, "--help"])
    assert answer.exit_code == 0
    assert answer.output.startswith("Usage: ")
