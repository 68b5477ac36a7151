"""Log setup: console or JSON lines, with the request and trace id of the record in process."""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

from streams.observability.log_folding import LogFolding
from streams.settings import Settings

REQUEST = ContextVar("request", default="")
"""Request id of the record in process, for every log line of the task."""

TRACE = ContextVar("trace", default="")
"""W3C trace id of that request."""

NOISY = ("faust", "mode", "aiokafka", "asyncio", "urllib3", "streams.faust_driver")
"""Loggers limited to warnings, unless the level is DEBUG."""


SILENT = ("aiokafka.consumer.group_coordinator", "aiokafka.cluster")
"""The first logs every lookup of a coordinator that is not available yet as an error; the health
check reports it. The second logs a missing topic ten times a second; the producer reports it."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": _encodable(record.getMessage()),
            "request_id": REQUEST.get(),
            "trace_id": TRACE.get(),
        }
        if record.exc_info:
            line["exception"] = _encodable(self.formatException(record.exc_info))
        return orjson.dumps(line).decode()


def _encodable(text: str) -> str:
    """Replace lone surrogates, which foreign JSON may carry and orjson rejects."""
    return text.encode(errors="replace").decode()


class ConsoleFormatter(logging.Formatter):
    """One readable line, with the request id at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the library's name)
        request = REQUEST.get()
        return super().formatMessage(record) + (f" [{request}]" if request else "")


def configure_logging(settings: Settings) -> None:
    """Log to stderr in the configured format; repeated lines are folded unless DEBUG."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else ConsoleFormatter())
    if settings.log_level != "DEBUG":
        handler.addFilter(LogFolding())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in NOISY:
        level = logging.NOTSET if settings.log_level == "DEBUG" else logging.WARNING
        logging.getLogger(name).setLevel(level)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
