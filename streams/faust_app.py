"""The Faust app of a stage: settings that were each paid for with a lost or stuck event."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import faust

from streams import tolerant_records
from streams.direct_consumer import DirectTransport
from streams.kafka import faust_broker, faust_credentials
from streams.records import Incoming
from streams.settings import Settings
from streams.topics import Topic

POLL_RECORDS = 64
"""Records of one poll. The buffer of each topic is five times what its partitions can deliver in
one poll: below that, one backlogged topic stops all others of the process."""

NEVER_SECONDS = 1_000_000.0
"""Poll interval. A consumer in back-pressure for longer leaves its group and never comes back."""


async def start_app(app: Any) -> None:
    """Start an app, without Faust's own monitor: nobody reads it, and it costs a tenth."""
    tolerant_records.install()
    await app.start()
    app.sensors.remove(app.monitor)
    # Without any state of a sensor Faust warns at each rebalance.
    app.sensors.on_rebalance_start = lambda _app: {"nobody": {}}


def read_from(app: Any, partition: Any) -> int:
    """Return the committed offset, from which Faust reads a partition after a rebalance.

    Faust has no public name for it; 0 when nothing is committed yet.
    """
    committed: int | None = app.consumer._committed_offset.get(partition)  # noqa: SLF001
    return committed or 0


async def end_offsets(app: Any, topics: Collection[str]) -> dict[Any, int]:
    """Return the end of each assigned partition of these topics."""
    mine = [tp for tp in app.consumer.assignment() if tp.topic in topics]
    ends: dict[Any, int] = await app.consumer.highwaters(*mine) if mine else {}
    return ends


def raw_topic(app: Any, kafka_name: str, partitions: int) -> Any:
    """Return a Faust topic that hands over bytes: a value that it decodes can kill the agent."""
    return app.topic(
        kafka_name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        maxsize=5 * partitions * POLL_RECORDS,
    )


def to_incoming(topic: Topic, message: Any) -> Incoming:
    """Return a Faust message as stages see it."""
    return Incoming(
        topic=topic.name,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
        timestamp=message.timestamp,
    )


def build_app(stage: str, settings: Settings) -> Any:
    """Return the Faust app (one consumer group) of a stage."""
    kafka = settings.kafka
    app_id = f"{kafka.topic_prefix}{stage}"
    app = faust.App(
        app_id,
        broker=faust_broker(kafka),
        broker_credentials=faust_credentials(kafka),
        datadir=str(_faust_dir(settings, app_id)),
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=kafka.partitions,
        topic_replication_factor=kafka.replication_factor,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        broker_max_poll_interval=NEVER_SECONDS,
        broker_max_poll_records=POLL_RECORDS,
        broker_commit_interval=kafka.commit_interval_seconds,
        broker_session_timeout=kafka.session_timeout_seconds,
        broker_heartbeat_interval=kafka.session_timeout_seconds / 4,
        broker_rebalance_timeout=kafka.session_timeout_seconds,
        producer_acks=-1,
        producer_request_timeout=60,
    )
    app.transport = DirectTransport(app.conf.broker_consumer, app)
    return app


def _faust_dir(settings: Settings, app_id: str) -> Path:
    directory = settings.data_dir / "faust" / app_id
    directory.mkdir(parents=True, exist_ok=True)
    return directory
