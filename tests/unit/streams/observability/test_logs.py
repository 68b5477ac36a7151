import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from streams.observability.logs import (
    NOISY,
    REQUEST,
    SILENT,
    TRACE,
    ConsoleFormatter,
    JsonFormatter,
    configure_logging,
)
from streams.settings import Settings

pytestmark = pytest.mark.usefixtures("own_settings")


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("streams.x", logging.WARNING, "x.py", 1, message, args, info)


def parsed_line(entry: logging.LogRecord) -> dict[str, Any]:
    text = JsonFormatter().format(entry)
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


@pytest.fixture
def _request_context() -> Iterator[None]:
    tokens = REQUEST.set("r1"), TRACE.set("t1")
    yield
    REQUEST.reset(tokens[0])
    TRACE.reset(tokens[1])


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in (*NOISY, *SILENT))]
    before = root.handlers[:], [each.level for each in loggers]
    yield
    root.handlers[:] = before[0]
    for each, level in zip(loggers, before[1], strict=True):
        each.setLevel(level)


@pytest.mark.usefixtures("_request_context")
def test_json_line_has_all_fields() -> None:
    parsed = parsed_line(record("%s of %d", "one", 2))
    assert datetime.fromisoformat(parsed.pop("time")).tzinfo is not None
    assert parsed == {
        "level": "WARNING",
        "logger": "streams.x",
        "message": "one of 2",
        "request_id": "r1",
        "trace_id": "t1",
    }


def test_exception_is_part_of_the_json_line() -> None:
    try:
        raise ValueError("first\nsecond")  # noqa: TRY301
    except ValueError as error:
        parsed = parsed_line(record("failed", error=error))
    assert "ValueError: first\nsecond" in parsed["exception"]


@pytest.mark.parametrize("text", ["a\nb", "ä\u2028", "\x1b[31m", "\x00", "half \ud800"])
def test_any_text_becomes_one_json_line(text: str) -> None:
    assert parsed_line(record("%s", text))["message"] == text.replace("\ud800", "?")


def test_surrogate_in_an_exception_is_replaced() -> None:
    assert "ValueError: ?" in parsed_line(record("x", error=ValueError("\ud800")))["exception"]


@pytest.mark.usefixtures("_request_context")
def test_console_line_ends_with_the_request_id() -> None:
    assert ConsoleFormatter().format(record("hello")).endswith("WARNING streams.x: hello [r1]")


def test_console_line_without_request_ends_with_the_message() -> None:
    assert ConsoleFormatter().format(record("hello")).endswith("streams.x: hello")


async def test_request_id_is_per_task() -> None:
    async def work(name: str) -> str:
        REQUEST.set(name)
        await asyncio.sleep(0)
        return str(parsed_line(record("x"))["request_id"])

    tasks = [asyncio.create_task(work(name)) for name in ("a", "b")]
    assert [await task for task in tasks] == ["a", "b"]
    assert parsed_line(record("x"))["request_id"] == ""


@pytest.mark.usefixtures("_logging_restored")
def test_json_is_written_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"))
    logging.getLogger("streams.y").info("hello")
    logging.getLogger("streams.y").debug("unseen")
    assert [json.loads(each)["message"] for each in capsys.readouterr().err.splitlines()] == [
        "hello"
    ]


@pytest.mark.usefixtures("_logging_restored")
def test_second_configuration_does_not_duplicate_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    configure_logging(Settings())
    logging.getLogger("streams.y").error("hello")
    assert capsys.readouterr().err.count("hello") == 1


@pytest.mark.usefixtures("_logging_restored")
@pytest.mark.parametrize(("level", "seen"), [("INFO", False), ("DEBUG", True)])
def test_library_info_is_logged_at_debug_level_only(
    capsys: pytest.CaptureFixture[str], level: Any, seen: bool
) -> None:
    configure_logging(Settings(log_level=level))
    logging.getLogger("aiokafka.x").info("chatter")
    logging.getLogger("aiokafka.x").warning("trouble")
    logging.getLogger(SILENT[0]).error("no coordinator")
    written = capsys.readouterr().err
    assert ("chatter" in written) is seen
    assert "trouble" in written
    assert "no coordinator" not in written
