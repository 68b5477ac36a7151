"""Spans to OpenTelemetry: the extra ``tracing``, set up by the standard ``OTEL_`` variables alone.

Nothing of OpenTelemetry is imported while tracing is off.
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
"""Either one, set and not empty, switches tracing on."""

PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

HTTP = "http/protobuf"

FLUSH_SECONDS = 5.0
"""How long the end of the process waits for the spans that are left; a collector in the same
network takes them within milliseconds."""


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether the environment asks for traces.

    Raises:
        ClipmillError: ``system.config``; it asks for what is not there.
    """
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    named = next((name for name in ENDPOINTS if environment.get(name, "").strip()), None)
    if off or exporter == "none" or named is None:
        return False
    if exporter != "otlp":
        raise _refuse(f"OTEL_TRACES_EXPORTER={exporter} is not supported; use otlp or none")
    protocol = next((text for name in PROTOCOLS if (text := environment.get(name))), HTTP)
    if protocol != HTTP:
        raise _refuse(f"OTLP by {protocol} is not supported; set {PROTOCOLS[0]}={HTTP}")
    if not _is_installed():
        raise _refuse(
            f"{named} asks for traces, but OpenTelemetry is not installed;"
            " run `pip install 'clipmill[tracing]'`, or unset the variable"
        )
    return True


def _is_installed() -> bool:
    parts = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    try:
        return all(importlib.util.find_spec(part) is not None for part in parts)
    except ModuleNotFoundError:
        return False


def _refuse(message: str) -> ClipmillError:
    return ClipmillError(ErrorCode.SYSTEM_CONFIG, message)


@asynccontextmanager
async def open_tracing(environment: Mapping[str, str] = os.environ) -> AsyncIterator[None]:
    """Record spans while the block lasts, if the environment asks for it; then export the rest.

    The engine's processes are forked from a program of their own, so the exporter's thread is in
    none of them.

    Raises:
        ClipmillError: ``system.config``; see `is_wanted`.
    """
    if not is_wanted(environment):
        yield
        return
    # Imported here: 51 ms and 20 packages for those who want it.
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
    """Export what is left within `FLUSH_SECONDS`."""
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def close() -> None:
        recorder.close()
        with suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(closed.set)

    # A daemon: the process must not wait for a collector that does not answer.
    threading.Thread(target=close, name="tracing-close", daemon=True).start()
    try:
        async with asyncio.timeout(FLUSH_SECONDS):
            await closed.wait()
    except TimeoutError:
        log.warning("the last %d spans are not exported: no answer", recorder.waiting)
        recorder.abort()
