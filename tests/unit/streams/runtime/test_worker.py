"""The worker, with runners that crash as the test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Self

import pytest

from streams.cluster.authorization import MissingAclError
from streams.cluster.shared_state import SharedState
from streams.cluster.topic_admin import TopicsError
from streams.faust_driver.static_member import InstanceIdError
from streams.memory import MemoryExhaustedError
from streams.observability.health import Health
from streams.observability.metrics import REGISTRY
from streams.runtime import worker as module
from streams.runtime.back_pressure import GroupProgress
from streams.runtime.worker import CALM_SECONDS, RESTART_SECONDS, Worker
from streams.settings import HeartbeatSettings, Settings
from streams.stage import Stage
from streams.topics import REQUESTS, TOPICS, Topic, changelog_topic

pytestmark = pytest.mark.usefixtures("own_settings")

STAGE = Stage("toy", (REQUESTS,), open=lambda _: NotImplemented, on_bug=lambda *_: ())
OTHER = Stage("other", (REQUESTS,), open=lambda _: NotImplemented, on_bug=lambda *_: ())


class World:
    """What the runners do, and what the clock says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.checked: list[Topic] = []
        self.lives: dict[str, list[float]] = {}
        self.opening_fails = False
        self.closing_fails = False
        self.made: list[str] = []
        self.memories: list[Any] = []
        self.members: list[tuple[str | None, int]] = []
        self.cluster: str | None = None
        self.access: str | None = None
        self.refusal: str | None = None
        self.closed = 0
        """Runners that ended; a wait that follows one is the wait before the next start."""


class FakeRunner:
    world: World

    def __init__(self, stage: Stage, _settings: Settings, _outbox: Any, **more: Any) -> None:
        self.stage = stage
        self.world.made.append(stage.name)
        self.warn = more["warn"]
        self.world.memories.append(more["memory"])
        self.world.members.append((more["member"].instance_id, more["member"].failures))
        lives = self.world.lives.get(stage.name, [])
        self.dies_at = self.world.now + (lives.pop(0) if lives else float("inf"))

    async def __aenter__(self) -> Self:
        if self.world.opening_fails:
            raise OSError("no broker")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.world.closed += 1
        if self.world.closing_fails:
            raise RuntimeError("cannot stop")

    def heartbeat_partitions(self) -> set[int]:
        return set()

    def failure(self) -> BaseException | None:
        return RuntimeError("crashed") if self.world.now >= self.dies_at else None

    def problem(self) -> str | None:
        return "waits"


class FakeOutbox:
    def __init__(self, _kafka: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def problem(self) -> str | None:
        return FakeRunner.world.cluster

    async def publish(self, _writes: object) -> list[object]:
        raise NotImplementedError


class FakeAccess:
    def __init__(self, _kafka: object, _acls: object) -> None:
        pass

    async def require_at_start(self) -> None:
        if FakeRunner.world.refusal:
            raise MissingAclError(FakeRunner.world.refusal)

    async def run(self) -> None:
        pass

    def problem(self) -> str | None:
        return FakeRunner.world.access


@asynccontextmanager
async def following(_kafka: object, _observer: object) -> AsyncIterator[SharedState]:
    yield SharedState()


class FakeOffsets:
    @classmethod
    @asynccontextmanager
    async def open(cls, _kafka: object) -> "AsyncIterator[FakeOffsets]":
        yield cls()

    async def ends(self, _places: object) -> dict[Any, int]:
        return {}

    async def measure(self, _known: object) -> dict[Topic, GroupProgress]:
        return {}

    async def committed(self, _stage: str, _topic: Topic) -> dict[int, int]:
        raise NotImplementedError


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    async def sleep(seconds: float) -> None:
        made.now += seconds
        if made.closed > len(made.waits):
            made.waits.append(seconds)
        await asyncio.sleep(0)

    async def check_topics(_kafka: object, topics: list[Topic]) -> None:
        made.checked += topics

    monkeypatch.setattr(module, "AccessMonitor", FakeAccess)
    monkeypatch.setattr(FakeRunner, "world", made, raising=False)
    monkeypatch.setattr(module, "StageRunner", FakeRunner)
    monkeypatch.setattr(module, "Outbox", FakeOutbox)
    monkeypatch.setattr(module, "following", following)
    monkeypatch.setattr(module, "GroupOffsets", FakeOffsets)
    monkeypatch.setattr(module, "check_topics", check_topics)
    clock = SimpleNamespace(
        sleep=sleep,
        TaskGroup=asyncio.TaskGroup,
        CancelledError=asyncio.CancelledError,
        current_task=asyncio.current_task,
    )
    monkeypatch.setattr(module, "asyncio", clock)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


async def run_until(worker: Worker, done: Any) -> None:
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        while not done() and not task.done():
            await asyncio.wait([task], timeout=0)
    task.cancel()
    await asyncio.wait([task], timeout=1)
    assert task.done(), "the worker did not stop when it was told to"


async def test_before_it_runs_nothing_is_ready() -> None:
    health = Health()
    Worker([STAGE, OTHER], Settings(), health)
    assert health.problems() == {"toy": "is being started", "other": "is being started"}


async def test_a_running_stage_speaks_for_itself(world: World) -> None:
    health = Health()
    worker = Worker([STAGE], Settings(), health)
    seen: list[dict[str, str]] = []
    await run_until(worker, lambda: seen.append(health.problems()) or len(seen) > 5)  # type: ignore[func-returns-value]
    assert seen[-1] == {"toy": "waits"}
    assert world.made == ["toy"]
    assert world.closed == 1, "a cancelled stage is closed"


@pytest.mark.parametrize(
    ("sends", "interval", "expected"),
    [(True, 4, {"toy", "ledger"}), (True, 0, set()), (False, 4, set())],
    ids=["sends", "switched off", "another stage"],
)
async def test_heartbeats_are_sent_beside_the_stage_that_does_so(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    *,
    sends: bool,
    interval: float,
    expected: set[str],
) -> None:
    beside: dict[str, Any] = {"stages": set()}

    class FakeHeartbeats:
        def __init__(self, _settings: HeartbeatSettings, **more: Any) -> None:
            beside.update(more)

        @asynccontextmanager
        async def sending(self, _health: Health) -> AsyncIterator[None]:
            yield
            beside["ended"] = world.closed

    monkeypatch.setattr(module, "Heartbeats", FakeHeartbeats)
    monkeypatch.setattr(module, "stage_names", lambda: ["ledger"])
    settings = Settings(heartbeat=HeartbeatSettings(interval_seconds=interval))
    worker = Worker([replace(STAGE, sends_heartbeats=sends)], settings, Health())
    await run_until(worker, lambda: world.made and world.now > 1)
    assert beside["stages"] == expected
    assert beside.get("step") == ("toy" if expected else None)
    assert beside.get("ended", 0) == 0, "they end before the stage does"


async def test_a_cluster_that_takes_no_records_is_a_problem_of_the_process(world: World) -> None:
    world.cluster = "takes no records"
    health = Health()
    seen: list[dict[str, str]] = []
    worker = Worker([STAGE], Settings(), health)
    await run_until(worker, lambda: seen.append(health.problems()) or len(seen) > 5)  # type: ignore[func-returns-value]
    assert seen[-1] == {"toy": "waits", "kafka": "takes no records"}


async def test_crashes_are_answered_with_growing_waits(world: World) -> None:
    world.lives["toy"] = [0.0] * 7
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(world.made) > 7)
    assert world.waits[:7] == [*RESTART_SECONDS, RESTART_SECONDS[-1], RESTART_SECONDS[-1]]
    assert world.closed >= 7


async def test_after_a_long_life_the_waits_begin_again(world: World) -> None:
    world.lives["toy"] = [0.0, 0.0, CALM_SECONDS + 1, 0.0]
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(world.made) > 4)
    first, second = RESTART_SECONDS[:2]
    assert world.waits[:4] == [first, second, first, second]


@pytest.mark.parametrize("where", ["opening_fails", "closing_fails"])
async def test_a_stage_that_cannot_open_or_close_is_tried_again(world: World, where: str) -> None:
    setattr(world, where, True)
    world.lives["toy"] = [0.0] * 3
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(world.made) > 3)
    assert len(world.made) > 3


async def test_a_stage_that_crashes_leaves_the_others_alone(world: World) -> None:
    world.lives["toy"] = [0.0] * 3
    await run_until(Worker([STAGE, OTHER], Settings(), Health()), lambda: len(world.made) > 4)
    assert world.made.count("other") == 1


async def test_all_stages_share_what_is_done_about_memory(world: World) -> None:
    health = Health()
    world.lives["toy"] = [0.0]
    worker = Worker([STAGE, OTHER], Settings(), health)
    await run_until(worker, lambda: len(world.made) > 2)
    [users] = set(world.memories)
    assert "memory" not in health.problems()
    users.pause("memory: full")
    assert health.problems()["memory"] == "memory: full"


async def test_memory_that_stays_used_up_ends_the_worker(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullMemory:
        def __init__(self, *_: object) -> None:
            pass

        async def run(self) -> None:
            raise MemoryExhaustedError("full")

    monkeypatch.setattr(module, "MemoryMonitor", FullMemory)
    with pytest.raises(ExceptionGroup) as caught:
        await Worker([STAGE], Settings(), Health()).run()
    assert caught.group_contains(MemoryExhaustedError, match="full")
    assert world.closed == len(world.made), "every stage was closed in order"


async def test_restarts_are_counted(world: World) -> None:
    labels = {"stage": "toy"}
    before = REGISTRY.get_sample_value("clipmill_stage_restarts_total", labels) or 0
    world.lives["toy"] = [0.0] * 3
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(world.made) > 3)
    assert REGISTRY.get_sample_value("clipmill_stage_restarts_total", labels) == before + 3


async def test_topics_and_changelogs_are_checked_before_the_stages_start(world: World) -> None:
    stage = replace(STAGE, tables=("rows",))
    await run_until(Worker([stage, OTHER], Settings(), Health()), lambda: len(world.made) > 1)
    assert world.checked == [*TOPICS, changelog_topic("toy", "rows")]
    assert world.checked[-1].kafka_name("p.") == "p.toy-rows-changelog"


async def test_missing_acls_stop_the_start(world: World) -> None:
    world.refusal = "READ on topic a"
    with pytest.raises(MissingAclError, match="READ on topic a"):
        await Worker([STAGE], Settings(), Health()).run()
    assert world.made == []


async def test_access_that_is_lost_is_a_problem_of_the_process(world: World) -> None:
    world.access = "refuses the login"
    health = Health()
    seen: list[dict[str, str]] = []
    worker = Worker([STAGE], Settings(), health)
    await run_until(worker, lambda: seen.append(health.problems()) or len(seen) > 5)  # type: ignore[func-returns-value]
    assert seen[-1] == {"toy": "waits", "access": "refuses the login"}


async def test_missing_topics_stop_the_start(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check_topics(_kafka: object, _topics: object) -> None:
        raise TopicsError("requests does not exist")

    monkeypatch.setattr(module, "check_topics", check_topics)
    with pytest.raises(TopicsError):
        await Worker([STAGE], Settings(), Health()).run()
    assert world.made == []


async def test_a_stage_that_starts_again_is_the_same_member_and_knows_how_often_it_failed(
    world: World,
) -> None:
    world.lives["toy"] = [1.0, 1.0, CALM_SECONDS + 1]
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(world.made) == 4)
    assert len({instance_id for instance_id, _ in world.members}) == 1
    assert [failures for _, failures in world.members] == [0, 1, 2, 1]


async def test_workers_on_one_data_directory_are_different_members(world: World) -> None:
    one, other = (Worker([STAGE], Settings(), Health()) for _ in range(2))
    beside = asyncio.create_task(one.run())
    while not world.made:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await run_until(other, lambda: len(world.made) == 2)
    beside.cancel()
    await asyncio.wait([beside])
    assert len(set(world.members)) == 2


async def test_an_id_that_another_worker_has_is_an_error_at_the_start(world: World) -> None:
    settings = Settings(kafka={"group_instance_id": "twin"})
    beside = asyncio.create_task(Worker([STAGE], settings, Health()).run())
    while not world.made:  # noqa: ASYNC110
        await asyncio.sleep(0)
    with pytest.raises(InstanceIdError, match=r"kafka\.group_instance_id"):
        await Worker([STAGE], settings, Health()).run()
    beside.cancel()
    await asyncio.wait([beside])
