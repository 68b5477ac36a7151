"""The Faust app of a stage: settings that were each paid for with a lost or stuck event."""

import asyncio
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import faust

from streams.cluster.connection import client_id, client_options
from streams.faust_driver.aligned_assignor import AlignedAssignor
from streams.faust_driver.consumer import DirectTransport
from streams.faust_driver.static_member import StaticMember
from streams.faust_driver.tables import DeclaredTableManager
from streams.records import Incoming
from streams.settings import KafkaSettings, Settings
from streams.topics import Topic

POLL_RECORDS = 64
"""Records of one poll. The buffer of each topic is five times what its partitions can deliver in
one poll: below that, one backlogged topic stops all others of the process."""

TAKEN_AT_ONCE = 64
"""Events that a stage takes in one round of the event loop: about 2 ms."""

NEVER_SECONDS = 1_000_000.0
"""Poll interval. A consumer in back-pressure for longer leaves its group and never comes back."""


METADATA_SECONDS = 10
"""Age of metadata. A topic that was deleted and created again is assigned after at most this long;
with the default of 5 minutes its requests wait for that long."""

CRASH_POLL_SECONDS = 0.5
"""Pause between two looks at an app that starts; Faust has no event of its crash."""


async def start_app(app: Any) -> None:
    """Start an app, without Faust's own monitor: nobody reads it, and it costs a tenth."""
    await _start_or_crash(app)
    app.sensors.remove(app.monitor)
    # Without any state of a sensor Faust warns at each rebalance.
    app.sensors.on_rebalance_start = lambda _app: {"nobody": {}}


async def _start_or_crash(app: Any) -> None:
    """Start an app, or raise what it crashed of while it started: Faust would wait for ever."""
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
    """Return why an app does not work any more, None while it does."""
    if app.crashed or app.should_stop:
        return app.crash_reason or RuntimeError("the Faust app stopped by itself")
    return _group_error(app)


def _group_error(app: Any) -> BaseException | None:
    """Return what keeps an app out of its group, such as a missing ACL.

    aiokafka's coordinator keeps the error until a read or a commit collects it, and does nothing
    until then. Faust does neither while it has no partitions.
    """
    thread = getattr(app.consumer, "_thread", None)
    coordinator = getattr(getattr(thread, "_consumer", None), "_coordinator", None)
    return getattr(coordinator, "_pending_exception", None)


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


def queued_events(stream: Any) -> Iterator[Any]:
    """Yield events that the stream has already, `TAKEN_AT_ONCE` at most.

    By itself a stream gives one event in each round of the event loop. A round takes milliseconds
    under load, so a stage could not read ahead.
    """
    queue = stream.channel.queue
    for _ in range(TAKEN_AT_ONCE):
        if queue.empty():
            return
        yield queue.get_nowait()


def to_incoming(topic: Topic, message: Any) -> Incoming:
    """Return a Faust message as stages see it."""
    return Incoming(
        topic=topic.name,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
        timestamp=message.timestamp or 0.0,  # None in the oldest format of records
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
        # Faust insists that an assignment names the URL of the worker: a static member gets the
        # one of the process before it, which had another host name perhaps.
        canonical_url="http://clipmill",
        datadir=str(group_dir(stage, settings)),
        store="memory://",
        web_enabled=False,
        TableManager=DeclaredTableManager,
        PartitionAssignor=AlignedAssignor,
        topic_disable_leader=True,
        # Workers need no right to create: `clipmill topics apply` made the changelogs too.
        topic_allow_declare=False,
        topic_partitions=kafka.partitions,
        topic_replication_factor=kafka.replication_factor,
        table_standby_replicas=0,
        # A row that is written in a recovery is ahead of the end that the recovery began with.
        recovery_consistency_check=False,
        # An offset that the log does not have is handled in `DirectConsumer`, and said.
        consumer_auto_offset_reset="none",
        consumer_metadata_max_age_ms=METADATA_SECONDS * 1000,
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
    app.transport.member = member
    app.transport.stage = stage
    return app


def group_dir(stage: str, settings: Settings) -> Path:
    """Return the directory of a stage's consumer group, which is there then."""
    directory = settings.data_dir / "faust" / f"{settings.kafka.topic_prefix}{stage}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def faust_broker(kafka: KafkaSettings) -> str:
    """Return the brokers as Faust wants them."""
    return ";".join(f"aiokafka://{server}" for server in kafka.bootstrap.split(","))


def faust_credentials(kafka: KafkaSettings) -> Any:
    """Return Faust's form of the login, None for plain connections."""
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
