"""Behaviour of every command without a broker."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams import cli as module
from streams.cli import COMMANDS, cli, main
from streams.observability.logs import NOISY, SILENT
from tests.integration.kafka_client import closed_port

pytestmark = pytest.mark.usefixtures("own_settings", "_logging_restored")


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in (*NOISY, *SILENT))]
    before = root.handlers[:], [each.level for each in loggers]
    yield
    root.handlers[:] = before[0]
    for each, level in zip(loggers, before[1], strict=True):
        each.setLevel(level)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_help_lists_all_commands() -> None:
    output = run("--help").output
    assert all(f"  {name} " in output for name in COMMANDS)
    assert run("-h").output == output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == name
    assert command.help
    assert run(name, "--help").exit_code == 0


def test_version_is_that_of_the_package() -> None:
    assert run("--version").output.strip().endswith(f"version {version('clipmill')}")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["worker"], "Missing argument 'STAGES...'"),
        (["submit"], "Missing argument 'URLS...'"),
        (["submit", "--quality", "9000p", "u"], "Invalid value for '--quality'"),
        (["submit", "--action", "delete", "u"], "Invalid value for '--action'"),
        (["submit", "--timeout", "soon", "u"], "Invalid value for '--timeout'"),
        (["requests", "--state", "foo"], "Invalid value for '--state': 'foo' is not one of"),
        (["requests", "--video", "foo"], "Invalid value for --video: 'foo' is not PLATFORM:ID"),
        (["status"], "Missing argument 'REQUEST_ID'"),
        (["up", "--nonsense"], "No such option"),
        (["cancel"], "Missing argument 'REQUEST_ID'"),
        (["retry", "r1", "--quality", "9000p"], "Invalid value for '--quality'"),
        (["retry", "r1", "--codec", "vp9"], "Invalid value for '--codec'"),
        (["refresh"], "Missing argument 'VIDEO'"),
        (["breakers", "open"], "Missing argument 'NAME'"),
        (["breakers", "explode"], "No such command 'explode'"),
        (["resume"], "Missing argument 'STAGE'"),
        (["config", "extra"], "unexpected extra argument"),
        (["topics", "destroy"], "No such command 'destroy'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_error_is_explained(arguments: list[str], text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "apply"],
        ["topics", "check"],
        ["submit", "https://example.org/1"],
        ["status", "r1"],
        ["cancel", "r1"],
        ["retry", "r1", "--quality", "480p", "--wait"],
        ["refresh", "tiktok:1"],
        ["breakers"],
        ["breakers", "open", "tiktok:extract:direct"],
        ["breakers", "reset", "tiktok:extract:direct"],
        ["resume", "download"],
        ["up", "--http", "127.0.0.1:0"],
        ["worker", "delay", "--http", "127.0.0.1:0"],
    ],
    ids=" ".join,
)
def test_unavailable_broker_is_reported_without_traceback(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPMILL_KAFKA__START_TIMEOUT_SECONDS", "0.1")
    address = closed_port()
    result = run(*arguments, "--bootstrap", address)
    assert result.exit_code == 1
    assert f"Error: no broker answers at {address}" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", ":8080", "127.0.0.1:65536"])
def test_invalid_http_address_is_reported_without_traceback(address: str) -> None:
    result = run("worker", "delay", "--bootstrap", closed_port(), "--http", address)
    assert result.exit_code == 1
    assert address in result.output
    assert "Traceback" not in result.output


def test_unknown_stage_is_reported_with_the_installed_ones() -> None:
    result = run("worker", "delay", "nonsense")
    assert result.exit_code == 1
    assert "Error: no stage named nonsense; available: commands, delay, " in result.output


def test_broker_start_failure_is_reported_without_traceback(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "broker.json").write_text("damaged")
    result = run("up", "--data-dir", str(tmp_path), "--http", "127.0.0.1:0")
    assert result.exit_code == 1
    assert "broker.json" in result.output
    assert "Traceback" not in result.output


def test_up_uses_a_configured_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPMILL_KAFKA__START_TIMEOUT_SECONDS", "0.1")
    monkeypatch.setenv("CLIPMILL_KAFKA__BOOTSTRAP", address := closed_port())
    result = run("up", "--http", "127.0.0.1:0")
    assert result.exit_code == 1
    assert f"Error: no broker answers at {address}" in result.output


def test_up_rejects_a_port_for_a_broker_that_it_does_not_start() -> None:
    result = run("up", "--bootstrap", "127.0.0.1:1", "--kafka-port", "9093")
    assert result.exit_code == 2
    assert "kafka.bootstrap is 127.0.0.1:1" in result.output


def test_up_with_a_file_as_data_directory_is_reported_without_traceback(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    result = run("up", "--data-dir", str(file), "--http", "127.0.0.1:0")
    assert result.exit_code == 1
    assert f"the data directory {file}/kafka cannot be used: Not a directory" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "variable", "text"),
    [
        (["config"], ("CLIPMILL_HTPP", "x"), "CLIPMILL_HTPP is not a setting"),
        (["config"], ("CLIPMILL_KAFKA__PARTITIONS", "x"), "kafka.partitions has an invalid value"),
        (["up", "--bootstrap", "nonsense"], None, "kafka.bootstrap has an invalid value"),
        (["status", "r1", "--bootstrap", "a:b"], None, "kafka.bootstrap has an invalid value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_setting_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    variable: tuple[str, str] | None,
    text: str,
) -> None:
    if variable:
        monkeypatch.setenv(*variable)
    monkeypatch.setattr(sys, "argv", ["clipmill", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(f"clipmill: {text}")
    assert len(error.splitlines()) == 1


async def test_listing_commands_imports_none_of_them() -> None:
    script = (
        "import sys; from streams.cli import cli; cli.list_commands(None);"
        "print([name for name in sys.modules if name.partition('.')[0] in ('faust', 'aiokafka')])"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output == b"[]\n"
    assert set(module.COMMANDS) <= set(cli.list_commands(None))  # type: ignore[arg-type]
