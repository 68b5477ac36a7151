"""Configuration of the embedded Kafka: single node, durable against kill -9, small, low idle cost.

Sources: Kafka 4.3 broker, topic and KRaft configuration reference; idle cost measured on two cores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_MEBIBYTE = 1 << 20
_INITIAL_HEAP_MEGABYTES = 64
# Below this Kafka 4.3 spends its time collecting garbage.
MINIMUM_HEAP_MEGABYTES = 96
LOG_DIR = "log"
NODE_ID = 1

_SETTINGS: dict[str, str | int] = {
    "process.roles": "broker,controller",
    "node.id": NODE_ID,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    # Relative to the data directory, the server's working directory: needs no escaping.
    "log.dirs": LOG_DIR,
    "auto.create.topics.enable": "false",
    "num.partitions": 4,
    # Single node: internal topics have one replica.
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    # After kill -9 the controller rejects the restarted broker until the session of the dead one
    # times out (default 9 s). The broker retries 0.1, 0.3, 0.7 and 1.5 s after its start, so
    # 1.2 s costs no more than 0.8 s would. A longer session tolerates a longer machine stall.
    "broker.session.timeout.ms": 1200,
    "broker.heartbeat.interval.ms": 400,
    # Off: the default writes a no-op record to the metadata log twice a second.
    "metadata.max.idle.interval.ms": 0,
    # Each idle thread of these pools wakes up three times a second.
    "num.network.threads": 2,
    "num.io.threads": 2,
    "background.threads": 2,
    "group.coordinator.threads": 1,
    "share.coordinator.threads": 1,
    "num.recovery.threads.per.data.dir": 1,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 2000,
    # Committed offsets survive a month without the group (default 7 days).
    "offsets.retention.minutes": 30 * 24 * 60,
    "message.max.bytes": 2 * _MEBIBYTE,
    "replica.fetch.max.bytes": 2 * _MEBIBYTE,
    # Segments are the unit of retention and compaction: small ones keep both prompt.
    "log.segment.bytes": 64 * _MEBIBYTE,
    "offsets.topic.segment.bytes": 16 * _MEBIBYTE,
    # An entry of 8 bytes per 4 KiB of a segment; the default of 10 MiB per index is for 1 GiB.
    "log.index.size.max.bytes": _MEBIBYTE,
    # The default of 128 MiB is allocated on the heap at start; 16 MiB hold 600,000 keys per pass.
    "log.cleaner.threads": 1,
    "log.cleaner.dedupe.buffer.size": 16 * _MEBIBYTE,
}

_JVM_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    # After an OutOfMemoryError the broker limps on; a dead one is restarted.
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:ErrorFile=kafka-crash.log",
    "-Djava.net.preferIPv4Stack=true",
    # Java caches an off-heap buffer per thread, as large as the largest message it wrote.
    "-Djdk.nio.maxCachedBufferSize=262144",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    # Java 24 and later warn about native access by zstd-jni and Kafka.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


@dataclass(frozen=True, slots=True)
class Additions:
    """Configuration beyond clipmill's own.

    Attributes:
        listeners: further listeners by name, HOST:PORT each.
        properties: further broker properties; they override clipmill's.
        java_options: further options of Java.
    """

    listeners: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    java_options: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on 127.0.0.1: for clients, and for the node's own controller."""

    broker: int
    controller: int


def server_properties(ports: Ports, additions: Additions | None = None) -> str:
    """Render Kafka's configuration file."""
    added = additions or Additions()
    further = [f"{name}://{address}" for name, address in added.listeners.items()]
    client = ",".join([f"PLAINTEXT://127.0.0.1:{ports.broker}", *further])
    settings = _SETTINGS | {
        "controller.quorum.voters": f"1@127.0.0.1:{ports.controller}",
        "listeners": f"{client},CONTROLLER://127.0.0.1:{ports.controller}",
        "advertised.listeners": client,
        **added.properties,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def java_command(
    java: Path, jars: Sequence[Path], *, heap_megabytes: int, temporary: Path
) -> list[str]:
    """Return the command line up to the main class.

    Raises:
        ValueError: the heap is too small, or a jar's path cannot be part of a class path.
    """
    if heap_megabytes < MINIMUM_HEAP_MEGABYTES:
        raise ValueError(
            f"a heap of {heap_megabytes} MB is too small for Kafka: give it at least"
            f" {MINIMUM_HEAP_MEGABYTES} MB"
        )
    heap = [f"-Xms{_INITIAL_HEAP_MEGABYTES}m", f"-Xmx{heap_megabytes}m"]
    options = [*heap, *_JVM_OPTIONS, f"-Djava.io.tmpdir={temporary}"]
    return [str(java), *options, "-cp", _class_path(jars)]


def _class_path(jars: Sequence[Path]) -> str:
    for jar in jars:
        if ":" in str(jar):
            raise ValueError(
                f"Java cannot load {jar}: its path contains ':'. Choose another cache directory."
            )
    return ":".join(map(str, jars))
