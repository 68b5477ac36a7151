"""Builds and starts the Faust app of a stage, with settings that lose no record."""

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any

import faust

from streams.cluster.connection import client_id, client_options
from streams.faust_driver.aligned_assignor import AlignedAssignor
from streams.faust_driver.consumer import POLL_RECORDS, DirectTransport
from streams.faust_driver.static_member import StaticMember
from streams.faust_driver.tables import DeclaredTableManager
from streams.records import Incoming
from streams.settings import KafkaSettings, Settings
from streams.topics import HEARTBEATS, Topic

POLL_INTERVAL_SECONDS = 1_000_000.0
"""``max.poll.interval``, disabled in effect. A consumer that exceeds it in back-pressure leaves its
group and never rejoins."""


POLLS_QUEUED = 5
"""Polls that the queue of a topic holds for each partition. A partition is paused at 80 % of the
queue, so one poll of all partitions always fits: a full queue would block a rebalance."""

METADATA_SECONDS = 10
"""Maximum age of metadata. A topic that was deleted and created again is assigned after at most
this time; with the default of 5 minutes its requests wait as long."""

CRASH_POLL_SECONDS = 0.5
"""Poll interval for a crash of a starting app; Faust has no event for it."""


async def start_app(app: Any) -> None:
    """Start an app without Faust's own monitor: it is unused and costs a tenth."""
    await _start_or_raise(app)
    app.sensors.remove(app.monitor)
    # Without any state of a sensor Faust warns at each rebalance.
    app.sensors.on_rebalance_start = lambda _app: {"unused": {}}


async def _start_or_raise(app: Any) -> None:
    """Start an app, or raise the error that it crashed with, where Faust would wait forever."""
    starting = asyncio.ensure_future(app.start())
    try:
        while not starting.done():
            await asyncio.wait([starting], timeout=CRASH_POLL_SECONDS)
            if not starting.done() and (error := crash_of(app)):
                raise error
    finally:
        starting.cancel()
    await starting


def crash_of(app: Any) -> BaseException | None:
    """Return why an app has stopped working, None while it works."""
    if app.crashed or app.should_stop:
        return app.crash_reason or RuntimeError("the Faust app stopped by itself")
    return _group_error(app)


def _group_error(app: Any) -> BaseException | None:
    """Return the error that keeps an app out of its group, such as a missing ACL.

    aiokafka's coordinator keeps the error until a read or a commit collects it, and is idle until
    then. Faust does neither while it has no partitions.
    """
    thread = getattr(app.consumer, "_thread", None)
    coordinator = getattr(getattr(thread, "_consumer", None), "_coordinator", None)
    return getattr(coordinator, "_pending_exception", None)


def committed_offset(app: Any, partition: Any) -> int:
    """Return the committed offset, from which Faust reads a partition after a rebalance.

    Faust has no public name for it; 0 when nothing is committed yet.
    """
    committed: int | None = app.consumer._committed_offset.get(partition)  # noqa: SLF001
    return committed or 0


async def end_offsets(app: Any, topics: Collection[str]) -> dict[Any, int]:
    assigned = [tp for tp in app.consumer.assignment() if tp.topic in topics]
    ends: dict[Any, int] = await app.consumer.highwaters(*assigned) if assigned else {}
    return ends


def raw_topic(app: Any, kafka_name: str, partitions: int) -> Any:
    """Return a Faust topic of raw bytes: a value that Faust decodes can kill the agent."""
    return app.topic(
        kafka_name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        acks=False,
        maxsize=POLLS_QUEUED * partitions,
    )


def to_incoming(topic: Topic, record: Any) -> Incoming:
    return Incoming(
        topic=topic.name,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers or ()),
        timestamp=(record.timestamp or 0) / 1000,  # None in the oldest format of records
    )


def build_app(stage: str, settings: Settings, member: StaticMember) -> Any:
    """Return the Faust app (one consumer group) of a stage."""
    kafka = settings.kafka
    app_id = f"{kafka.topic_prefix}{stage}"
    app = faust.App(
        app_id,
        broker=faust_broker(kafka),
        broker_credentials=faust_credentials(kafka),
        broker_client_id=client_id(kafka, stage),
        consumer_group_instance_id=member.instance_id,
        # Faust rejects an assignment without the worker's own URL: a static member gets that of
        # the process before it, whose host name may differ. So all workers share one.
        canonical_url="http://clipmill",
        datadir=str(group_dir(stage, settings)),
        store="memory://",
        web_enabled=False,
        TableManager=DeclaredTableManager,
        PartitionAssignor=AlignedAssignor,
        topic_disable_leader=True,
        # Workers need no CREATE ACL: `clipmill topics apply` has created the changelogs too.
        topic_allow_declare=False,
        topic_partitions=kafka.partitions,
        topic_replication_factor=kafka.replication_factor,
        table_standby_replicas=0,
        # A row written during a recovery is beyond the end offset that the recovery started with.
        recovery_consistency_check=False,
        # `DirectConsumer` handles and reports offsets that the log does not have.
        consumer_auto_offset_reset="none",
        consumer_metadata_max_age_ms=METADATA_SECONDS * 1000,
        stream_wait_empty=False,
        broker_max_poll_interval=POLL_INTERVAL_SECONDS,
        broker_max_poll_records=POLL_RECORDS,
        broker_commit_interval=kafka.commit_interval_seconds,
        broker_session_timeout=kafka.session_timeout_seconds,
        broker_heartbeat_interval=kafka.session_timeout_seconds / 4,
        broker_rebalance_timeout=kafka.session_timeout_seconds,
        producer_acks=-1,
        producer_request_timeout=60,
    )
    app.transport = DirectTransport(app.conf.broker_consumer, app)
    app.transport.member = member
    app.transport.idle_topics = frozenset({HEARTBEATS.kafka_name(kafka.topic_prefix)})
    return app


def group_dir(stage: str, settings: Settings) -> Path:
    """Return the directory of a stage's consumer group; create it."""
    directory = settings.data_dir / "faust" / f"{settings.kafka.topic_prefix}{stage}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def faust_broker(kafka: KafkaSettings) -> str:
    return ";".join(f"aiokafka://{server}" for server in kafka.bootstrap.split(","))


def faust_credentials(kafka: KafkaSettings) -> Any:
    """Return Faust's credentials for the login, None for plain connections."""
    options = client_options(kafka)
    context = options["ssl_context"]
    if not kafka.security_protocol.startswith("SASL"):
        return faust.SSLCredentials(context) if context else None
    if kafka.sasl_mechanism == "OAUTHBEARER":
        provider = options["sasl_oauth_token_provider"]
        return faust.OAuthCredentials(oauth_cb=provider, ssl_context=context)
    return faust.SASLCredentials(
        mechanism=kafka.sasl_mechanism,
        username=options["sasl_plain_username"],
        password=options["sasl_plain_password"],
        ssl_context=context,
    )
