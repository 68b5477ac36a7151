"""OpenTelemetry export: the extra ``tracing``, configured by the standard ``OTEL_`` variables only.

OpenTelemetry is not imported while tracing is disabled.
"""

import asyncio
import importlib.util
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from schemas.errors import ClipmillError, ErrorCode
from streams.tracing.spans import Recording

if TYPE_CHECKING:
    from streams.tracing.otlp_recorder import OtlpRecorder

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Either one, set and not empty, enables tracing."""

PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

HTTP = "http/protobuf"

COMPRESSION_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")

FLUSH_SECONDS = 5.0
"""Shutdown timeout of the last export; a collector in the same network answers within
milliseconds."""


def is_enabled(environment: Mapping[str, str]) -> bool:
    """Return whether the environment enables tracing.

    Raises:
        ClipmillError: ``system.config``; the configuration is not supported or not installed.
    """
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    named = next((name for name in ENDPOINTS if environment.get(name, "").strip()), None)
    if off or exporter == "none" or named is None:
        return False
    if exporter != "otlp":
        raise _config_error(f"OTEL_TRACES_EXPORTER={exporter} is not supported; use otlp or none")
    protocol = next((text for name in PROTOCOLS if (text := environment.get(name))), HTTP)
    if protocol != HTTP:
        raise _config_error(f"OTLP by {protocol} is not supported; set {PROTOCOLS[0]}={HTTP}")
    for name in COMPRESSION_VARIABLES:
        text = environment.get(name, "").strip().lower()
        if text not in {"", "none", "gzip", "deflate"}:
            raise _config_error(f"{name}={text} is not supported; use gzip, deflate or none")
    if not _is_installed():
        raise _config_error(
            f"{named} requests traces, but OpenTelemetry is not installed;"
            " run `pip install 'clipmill[tracing]'`, or unset the variable"
        )
    return True


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False


def _config_error(message: str) -> ClipmillError:
    return ClipmillError(ErrorCode.SYSTEM_CONFIG, message)


@asynccontextmanager
async def open_tracing(environment: Mapping[str, str] = os.environ) -> AsyncIterator[None]:
    """Record spans within the block, if enabled by the environment; then flush.

    Engine processes are forked from a separate program, so none inherits the exporter's thread.

    Raises:
        ClipmillError: ``system.config``; see `is_enabled`.
    """
    if not is_enabled(environment):
        yield
        return
    # Lazy import: OpenTelemetry and requests take 80 ms; only when enabled.
    from streams.tracing.otlp_recorder import OtlpRecorder  # noqa: PLC0415

    recorder = OtlpRecorder.from_environment(environment, version("clipmill"))
    Recording.recorder = recorder
    log.info("traces are recorded; sampler: %s", recorder.sampler_name)
    try:
        yield
    finally:
        Recording.recorder = None
        await _close(recorder)


async def _close(recorder: "OtlpRecorder") -> None:
    """Flush the queued spans within `FLUSH_SECONDS`."""
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def close() -> None:
        recorder.close()
        with suppress(RuntimeError):  # The loop was closed meanwhile.
            loop.call_soon_threadsafe(closed.set)

    # A daemon thread: process exit must not block on a collector that does not answer.
    threading.Thread(target=close, name="tracing-close", daemon=True).start()
    try:
        async with asyncio.timeout(FLUSH_SECONDS):
            await closed.wait()
    except TimeoutError:
        log.warning("the last %d spans are not exported: no answer", recorder.queued)
        recorder.abort()
