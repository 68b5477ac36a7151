"""A console over a history that a test writes; what it publishes is recorded."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from schemas.codec import decode
from schemas.commands import Command, RecordOrder
from schemas.deadletters import DeadLetterStatus
from streams.client import RequestProducer
from streams.cluster.inspection import ClusterState, GroupMember, GroupState
from streams.cluster.shared_state import SharedState
from streams.console.dead_letters import DeadLetters
from streams.console.download_progress import DownloadProgress
from streams.console.health.lag import LagReader, StageLag, TopicLag
from streams.console.jobs.store import JobStore
from streams.console.pipeline import Pipeline, Reader
from streams.console.replays import ReplayJobs
from streams.console.server import build_console
from streams.console.services import Services
from streams.deadletters.dead_letter import DeadLetterRecord
from streams.deadletters.plan import ReplayPlan, Totals
from streams.history.changes import RequestChange, RequestEvent
from streams.history.statements import FoldedRecord
from streams.history.store import HistoryStore
from streams.settings import ConsoleSettings, KafkaSettings, Settings
from streams.stage import Stage, load_stages

HOSTILE = "</td><script>alert(1)</script>\"'&\N{RIGHT-TO-LEFT OVERRIDE}"

CHANGES = (
    RequestChange(
        request_id="done",
        at=2.0,
        received_at=1.0,
        introduces=True,
        state="completed",
        is_final=True,
        url="https://www.tiktok.com/@a/video/7",
        video="tiktok:7",
        attempts=1,
        event=RequestEvent(at=2.0, step="ledger", transition="finished", detail={"a": "b"}),
    ),
    RequestChange(
        request_id="b/0",
        at=4.0,
        received_at=3.0,
        introduces=True,
        state="parked",
        batch="b",
        error="platform.breaker_open",
        due=1_000.0,
    ),
    RequestChange(
        request_id=HOSTILE,
        at=6.0,
        received_at=5.0,
        introduces=True,
        state="failed",
        is_final=True,
        url=HOSTILE,
        error="request.invalid",
        event=RequestEvent(at=6.0, step=HOSTILE, transition="finished", detail={HOSTILE: HOSTILE}),
    ),
)


TOKEN = "0123456789abcdef-token"


class RecordingProducer(RequestProducer):
    """Records what is published.

    Attributes:
        requests: the bodies.
        commands: the commands, without recorded orders.
        orders: the recorded orders.
        error: raised instead, when set.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.commands: list[Command] = []
        self.orders: list[RecordOrder] = []
        self.error: Exception | None = None

    async def publish(self, bodies: Sequence[bytes]) -> None:
        if self.error is not None:
            raise self.error
        self.requests += [decode(body, dict[str, Any]) for body in bodies]

    async def send_command(self, *commands: Command) -> None:
        if self.error is not None:
            raise self.error
        self.orders += [each for each in commands if isinstance(each, RecordOrder)]
        self.commands += [each for each in commands if not isinstance(each, RecordOrder)]


class RecordingDeadLetters(DeadLetters):
    """Dead letters of a test, with a complete index; records what is done to them.

    Attributes:
        resolved: the marks, by id.
        plans: the replays.
        error: raised by every action, when set.
        finish: replays wait for it.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, ReplayJobs(settings.kafka, self._replay))
        self.index.complete()
        self.resolved: dict[str, DeadLetterStatus] = {}
        self.plans: list[ReplayPlan] = []
        self.error: Exception | None = None
        self.finish = asyncio.Event()
        self._records: dict[str, DeadLetterRecord] = {}

    def add(self, *dead_letters: DeadLetterRecord) -> None:
        for each in dead_letters:
            self.index.add(each.summary())
            self._records[each.id] = each

    async def _read(
        self, dead_letter_id: str, marks: Mapping[str, DeadLetterStatus]
    ) -> DeadLetterRecord:
        if self.error is not None:
            raise self.error
        mark = marks.get(dead_letter_id)
        return msgspec.structs.replace(self._records[dead_letter_id], mark=mark)

    async def _resolve(self, found: DeadLetterRecord, mark: DeadLetterStatus) -> None:
        self.resolved[found.id] = mark

    async def _replay(
        self,
        _kafka: KafkaSettings,
        plan: ReplayPlan,
        _rate: float,
        progress: Callable[[Totals], object],
        begun: Callable[[], object],
    ) -> Totals:
        if self.error is not None and not self.plans:
            raise self.error
        self.plans.append(plan)
        begun()
        progress(Totals(replayed=1))
        await self.finish.wait()
        if self.error is not None:
            raise self.error
        return Totals(replayed=2)


async def read_idle_cluster(
    _kafka: KafkaSettings, topics: Collection[str], groups: Mapping[str, Collection[str]]
) -> ClusterState:
    """Return a cluster with one partition of each topic, and one worker of all stages."""
    offsets = {TopicPartition(topic, 0): 7 for topic in topics}
    states = {
        group: GroupState(
            state="Stable",
            members=(
                GroupMember(
                    name="worker-1", host="10.0.0.1", partitions=dict.fromkeys(sources, (0,))
                ),
            ),
            committed={TopicPartition(each, 0): OffsetAndMetadata(4, "") for each in sources},
        )
        for group, sources in groups.items()
    }
    return ClusterState(beginnings=dict.fromkeys(offsets, 2), ends=offsets, groups=states)


class FixedLag:
    """Measures what it is given, or raises it."""

    def __init__(self, stages: Mapping[str, StageLag] | Exception) -> None:
        self.stages = stages

    async def __call__(self) -> Mapping[str, StageLag]:
        if isinstance(self.stages, Exception):
            raise self.stages
        return self.stages


def stage_lag(stage: Stage, lag: int = 0, members: int = 1, **fields: Any) -> StageLag:
    topics = [TopicLag(topic=each.name, partitions=4, lag=0) for each in stage.sources]
    topics[0] = msgspec.structs.replace(topics[0], lag=lag)
    return StageLag(members=members, topics=tuple(topics), finished=7, **fields)


def services(
    store: HistoryStore,
    jobs: JobStore,
    *,
    read: Reader = read_idle_cluster,
    settings: Settings | None = None,
    orders_problem: str | None = None,
    **console: Any,
) -> Services:
    """Return the services of a console with these settings, and this reader of the cluster."""
    settings = settings or Settings(console=ConsoleSettings(**console))
    dead_letters = RecordingDeadLetters(settings)
    stages = load_stages()
    return Services(
        settings,
        store,
        jobs,
        RecordingProducer(),
        SharedState(),
        dead_letters,
        Pipeline(settings.kafka, stages, read),
        stages,
        LagReader(FixedLag({each.name: stage_lag(each) for each in stages})),
        DownloadProgress(),
        orders_problem,
    )


class Console(TestClient):  # type: ignore[type-arg]
    """Client of a console, and what it has published."""

    def __init__(self, services: Services) -> None:
        super().__init__(TestServer(build_console(services)))
        self.services = services

    @property
    def dead_letters(self) -> RecordingDeadLetters:
        assert isinstance(self.services.dead_letters, RecordingDeadLetters)
        return self.services.dead_letters

    @property
    def lag(self) -> FixedLag:
        measure = self.services.lag.measure
        assert isinstance(measure, FixedLag)
        return measure

    @property
    def producer(self) -> RecordingProducer:
        assert isinstance(self.services.producer, RecordingProducer)
        return self.services.producer


@asynccontextmanager
async def running_console(
    directory: Path, *changes: RequestChange, **console: Any
) -> AsyncIterator[Console]:
    """Serve a history of these changes, with these settings of the console."""
    with (
        HistoryStore(directory / "history.db") as store,
        JobStore(directory / "console.db") as jobs,
    ):
        records = [FoldedRecord(0, offset, each) for offset, each in enumerate(changes)]
        store.apply("audit", records, {}, store.open_generation("cluster"))
        async with Console(services(store, jobs, **console)) as client:
            yield client
