"""Log lines: for people or as JSON, with the request that they are about."""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

from streams.observability.log_folding import LogFolding
from streams.settings import Settings

REQUEST = ContextVar("request", default="")
"""Id of the request that is being worked on, for every log line on the way."""

TRACE = ContextVar("trace", default="")
"""W3C trace id of that request."""

NOISY = ("faust", "mode", "aiokafka", "asyncio", "urllib3", "streams.faust_driver.app")
"""Libraries of which only warnings are wanted, unless the level is DEBUG."""


SILENT = ("aiokafka.consumer.group_coordinator", "aiokafka.cluster")
"""The first reports every look for a coordinator that is not there yet as an error; health says it
better. The second reports a missing topic ten times a second; the producer says it once."""


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
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
    """Return the text without lone surrogates, which foreign JSON may carry and ours must not."""
    return text.encode(errors="replace").decode()


class ConsoleFormatter(logging.Formatter):
    """One readable line, the request at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the library's name)
        """Return the line without the exception."""
        request = REQUEST.get()
        return super().formatMessage(record) + (f" [{request}]" if request else "")


def configure_logging(settings: Settings) -> None:
    """Send log lines to stderr in the form that the settings ask for."""
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
