"""Worker with fake runners that crash at given times."""

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
from streams.memory.monitor import MemoryExhaustedError
from streams.observability.health import Health
from streams.observability.metrics import REGISTRY
from streams.runtime import worker as module
from streams.runtime.back_pressure import GroupProgress
from streams.runtime.worker import BACKOFF_RESET_SECONDS, RESTART_SECONDS, Worker
from streams.runtime.worker_services import WorkerServices
from streams.settings import HeartbeatSettings, Settings
from streams.stage import Stage
from streams.topics import REQUESTS, TOPICS, Topic, changelog_topic

pytestmark = pytest.mark.usefixtures("own_settings")

STAGE = Stage("toy", (REQUESTS,), open=lambda _: NotImplemented, on_bug=lambda *_: ())
OTHER = Stage("other", (REQUESTS,), open=lambda _: NotImplemented, on_bug=lambda *_: ())


class WorkerHarness:
    """Behaviour of the fake runners, and a fake clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.checked: list[Topic] = []
        self.uptimes: dict[str, list[float]] = {}
        self.open_fails = False
        self.close_fails = False
        self.started: list[str] = []
        self.memories: list[Any] = []
        self.members: list[tuple[str | None, int]] = []
        self.cluster: str | None = None
        self.access: str | None = None
        self.refusal: str | None = None
        self.closed = 0
        """Number of ended runners; the sleep after one is the backoff before its restart."""


class FakeRunner:
    harness: WorkerHarness

    def __init__(self, stage: Stage, services: WorkerServices, **more: Any) -> None:
        self.stage = stage
        self.harness.started.append(stage.name)
        self.warn = more["warn"]
        self.harness.memories.append(services.memory)
        self.harness.members.append((more["member"].instance_id, more["member"].failures))
        uptimes = self.harness.uptimes.get(stage.name, [])
        self.dies_at = self.harness.now + (uptimes.pop(0) if uptimes else float("inf"))

    async def __aenter__(self) -> Self:
        if self.harness.open_fails:
            raise OSError("no broker")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.harness.closed += 1
        if self.harness.close_fails:
            raise RuntimeError("cannot stop")

    def heartbeat_partitions(self) -> set[int]:
        return set()

    def failure(self) -> BaseException | None:
        return RuntimeError("crashed") if self.harness.now >= self.dies_at else None

    def problem(self) -> str | None:
        return "waits"


class FakeProducer:
    def __init__(self, _kafka: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def problem(self) -> str | None:
        return FakeRunner.harness.cluster

    async def publish(self, _writes: object) -> list[object]:
        raise NotImplementedError


class FakeAccess:
    def __init__(self, _kafka: object, _acls: object) -> None:
        pass

    async def require_at_start(self) -> None:
        if FakeRunner.harness.refusal:
            raise MissingAclError(FakeRunner.harness.refusal)

    async def run(self) -> None:
        pass

    def problem(self) -> str | None:
        return FakeRunner.harness.access


@asynccontextmanager
async def open_shared_state(_kafka: object, _observer: object) -> AsyncIterator[SharedState]:
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
def harness(monkeypatch: pytest.MonkeyPatch) -> WorkerHarness:
    harness = WorkerHarness()

    async def sleep(seconds: float) -> None:
        harness.now += seconds
        if harness.closed > len(harness.waits):
            harness.waits.append(seconds)
        await asyncio.sleep(0)

    async def check_topics(_kafka: object, topics: list[Topic]) -> None:
        harness.checked += topics

    monkeypatch.setattr(module, "AccessMonitor", FakeAccess)
    monkeypatch.setattr(FakeRunner, "harness", harness, raising=False)
    monkeypatch.setattr(module, "StageRunner", FakeRunner)
    monkeypatch.setattr(module, "ReliableProducer", FakeProducer)
    monkeypatch.setattr(module, "open_shared_state", open_shared_state)
    monkeypatch.setattr(module, "GroupOffsets", FakeOffsets)
    monkeypatch.setattr(module, "check_topics", check_topics)
    clock = SimpleNamespace(
        sleep=sleep,
        TaskGroup=asyncio.TaskGroup,
        CancelledError=asyncio.CancelledError,
        current_task=asyncio.current_task,
    )
    monkeypatch.setattr(module, "asyncio", clock)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: harness.now))
    return harness


async def run_until(worker: Worker, done: Any) -> None:
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        while not done() and not task.done():
            await asyncio.wait([task], timeout=0)
    task.cancel()
    await asyncio.wait([task], timeout=1)
    assert task.done(), "the worker did not stop on cancellation"


async def test_stages_are_not_ready_before_the_worker_runs() -> None:
    health = Health()
    Worker([STAGE, OTHER], Settings(), health)
    assert health.problems() == {"toy": "is starting", "other": "is starting"}


async def test_running_stage_reports_its_own_problem(harness: WorkerHarness) -> None:
    health = Health()
    worker = Worker([STAGE], Settings(), health)
    seen: list[dict[str, str]] = []
    await run_until(worker, lambda: seen.append(health.problems()) or len(seen) > 5)  # type: ignore[func-returns-value]
    assert seen[-1] == {"toy": "waits"}
    assert harness.started == ["toy"]
    assert harness.closed == 1, "a cancelled stage is closed"


@pytest.mark.parametrize(
    ("sends", "interval", "expected"),
    [(True, 4, {"toy", "ledger"}), (True, 0, set()), (False, 4, set())],
    ids=["enabled", "disabled", "other stage"],
)
async def test_heartbeats_run_alongside_a_stage_that_sends_them(
    harness: WorkerHarness,
    monkeypatch: pytest.MonkeyPatch,
    *,
    sends: bool,
    interval: float,
    expected: set[str],
) -> None:
    heartbeat_options: dict[str, Any] = {"stages": set()}

    class FakeHeartbeats:
        def __init__(self, _settings: HeartbeatSettings, **more: Any) -> None:
            heartbeat_options.update(more)

        @asynccontextmanager
        async def sending(self, _health: Health) -> AsyncIterator[None]:
            yield
            heartbeat_options["ended"] = harness.closed

    monkeypatch.setattr(module, "Heartbeats", FakeHeartbeats)
    monkeypatch.setattr(module, "stage_names", lambda: ["ledger"])
    settings = Settings(heartbeat=HeartbeatSettings(interval_seconds=interval))
    worker = Worker([replace(STAGE, sends_heartbeats=sends)], settings, Health())
    await run_until(worker, lambda: harness.started and harness.now > 1)
    assert heartbeat_options["stages"] == expected
    assert heartbeat_options.get("step") == ("toy" if expected else None)
    assert heartbeat_options.get("ended", 0) == 0, "heartbeats end before the stage"


async def test_unavailable_cluster_is_a_problem_of_the_process(harness: WorkerHarness) -> None:
    harness.cluster = "takes no records"
    health = Health()
    seen: list[dict[str, str]] = []
    worker = Worker([STAGE], Settings(), health)
    await run_until(worker, lambda: seen.append(health.problems()) or len(seen) > 5)  # type: ignore[func-returns-value]
    assert seen[-1] == {"toy": "waits", "kafka": "takes no records"}


async def test_crashed_stage_is_restarted_with_growing_backoff(harness: WorkerHarness) -> None:
    harness.uptimes["toy"] = [0.0] * 7
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(harness.started) > 7)
    assert harness.waits[:7] == [*RESTART_SECONDS, RESTART_SECONDS[-1], RESTART_SECONDS[-1]]
    assert harness.closed >= 7


async def test_backoff_is_reset_after_a_long_uptime(harness: WorkerHarness) -> None:
    harness.uptimes["toy"] = [0.0, 0.0, BACKOFF_RESET_SECONDS + 1, 0.0]
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(harness.started) > 4)
    first, second = RESTART_SECONDS[:2]
    assert harness.waits[:4] == [first, second, first, second]


@pytest.mark.parametrize("where", ["open_fails", "close_fails"])
async def test_stage_that_fails_to_open_or_close_is_restarted(
    harness: WorkerHarness, where: str
) -> None:
    setattr(harness, where, True)
    harness.uptimes["toy"] = [0.0] * 3
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(harness.started) > 3)
    assert len(harness.started) > 3


async def test_crash_of_one_stage_does_not_restart_the_others(harness: WorkerHarness) -> None:
    harness.uptimes["toy"] = [0.0] * 3
    await run_until(Worker([STAGE, OTHER], Settings(), Health()), lambda: len(harness.started) > 4)
    assert harness.started.count("other") == 1


async def test_all_stages_share_the_memory_users(harness: WorkerHarness) -> None:
    health = Health()
    harness.uptimes["toy"] = [0.0]
    worker = Worker([STAGE, OTHER], Settings(), health)
    await run_until(worker, lambda: len(harness.started) > 2)
    [users] = set(harness.memories)
    assert "memory" not in health.problems()
    users.pause("memory: full")
    assert health.problems()["memory"] == "memory: full"


async def test_exhausted_memory_ends_the_worker(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
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
    assert harness.closed == len(harness.started), "every stage was closed in order"


async def test_restarts_are_counted(harness: WorkerHarness) -> None:
    labels = {"stage": "toy"}
    before = REGISTRY.get_sample_value("clipmill_stage_restarts_total", labels) or 0
    harness.uptimes["toy"] = [0.0] * 3
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(harness.started) > 3)
    assert REGISTRY.get_sample_value("clipmill_stage_restarts_total", labels) == before + 3


async def test_topics_and_changelogs_are_checked_before_the_stages_start(
    harness: WorkerHarness,
) -> None:
    stage = replace(STAGE, tables=("rows",))
    await run_until(Worker([stage, OTHER], Settings(), Health()), lambda: len(harness.started) > 1)
    assert harness.checked == [*TOPICS, changelog_topic("toy", "rows")]
    assert harness.checked[-1].kafka_name("p.") == "p.toy-rows-changelog"


async def test_missing_acls_fail_the_start(harness: WorkerHarness) -> None:
    harness.refusal = "READ on topic a"
    with pytest.raises(MissingAclError, match="READ on topic a"):
        await Worker([STAGE], Settings(), Health()).run()
    assert harness.started == []


async def test_lost_access_is_a_problem_of_the_process(harness: WorkerHarness) -> None:
    harness.access = "rejects the login"
    health = Health()
    seen: list[dict[str, str]] = []
    worker = Worker([STAGE], Settings(), health)
    await run_until(worker, lambda: seen.append(health.problems()) or len(seen) > 5)  # type: ignore[func-returns-value]
    assert seen[-1] == {"toy": "waits", "access": "rejects the login"}


async def test_missing_topics_fail_the_start(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check_topics(_kafka: object, _topics: object) -> None:
        raise TopicsError("requests does not exist")

    monkeypatch.setattr(module, "check_topics", check_topics)
    with pytest.raises(TopicsError):
        await Worker([STAGE], Settings(), Health()).run()
    assert harness.started == []


async def test_restarted_stage_keeps_its_member_id_and_failure_count(
    harness: WorkerHarness,
) -> None:
    harness.uptimes["toy"] = [1.0, 1.0, BACKOFF_RESET_SECONDS + 1]
    await run_until(Worker([STAGE], Settings(), Health()), lambda: len(harness.started) == 4)
    assert len({instance_id for instance_id, _ in harness.members}) == 1
    assert [failures for _, failures in harness.members] == [0, 1, 2, 1]


async def test_workers_with_one_data_directory_are_different_members(
    harness: WorkerHarness,
) -> None:
    one, other = (Worker([STAGE], Settings(), Health()) for _ in range(2))
    running = asyncio.create_task(one.run())
    while not harness.started:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await run_until(other, lambda: len(harness.started) == 2)
    running.cancel()
    await asyncio.wait([running])
    assert len(set(harness.members)) == 2


async def test_instance_id_in_use_fails_the_start(harness: WorkerHarness) -> None:
    settings = Settings(kafka={"group_instance_id": "twin"})
    running = asyncio.create_task(Worker([STAGE], settings, Health()).run())
    while not harness.started:  # noqa: ASYNC110
        await asyncio.sleep(0)
    with pytest.raises(InstanceIdError, match=r"kafka\.group_instance_id"):
        await Worker([STAGE], settings, Health()).run()
    running.cancel()
    await asyncio.wait([running])
