"""The lag that all callers share."""

import asyncio
from collections.abc import Collection, Mapping

import msgspec
import pytest

from streams.cluster.authorization import MissingAclError
from streams.cluster.connection import ClusterUnavailableError, NoBrokerError
from streams.cluster.inspection import ClusterState
from streams.console.health import lag as module
from streams.console.health.lag import (
    FRESH_SECONDS,
    RECENT_SECONDS,
    LagReader,
    StageLag,
    TopicLag,
    measure_lag,
)
from streams.console.pipeline import Pipeline
from streams.settings import KafkaSettings
from streams.stage import load_stages
from tests.unit.streams.console.consoles import read_idle_cluster


class ScriptedLag:
    """Measures what a test sets, and counts the measurements."""

    def __init__(self) -> None:
        self.finished, self.lag, self.calls = 5, 3, 0
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> Mapping[str, StageLag]:
        self.calls += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        topic = TopicLag(topic="videos.selected", partitions=2, lag=self.lag)
        return {"download": StageLag(members=1, topics=(topic,), finished=self.finished)}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_measurement_is_shared_and_renewed_when_it_is_old() -> None:
    measure, clock = ScriptedLag(), Clock()
    reader = LagReader(measure, clock)
    first, _ = await asyncio.gather(reader.read(), reader.read())
    assert (first.stages["download"].lag, first.problem, measure.calls) == (3, None, 1)
    clock.now += FRESH_SECONDS - 0.1
    await reader.read()
    assert measure.calls == 1
    clock.now += 0.1
    measure.lag = 4
    assert (await reader.read()).stages["download"].lag == 3, "it is being measured"
    await asyncio.sleep(0)
    assert (await reader.read()).stages["download"].lag == 4
    assert measure.calls == 2


async def test_caller_waits_for_a_measurement_that_replaces_an_old_one() -> None:
    measure, clock = ScriptedLag(), Clock()
    reader = LagReader(measure, clock)
    await reader.read()
    measure.lag, clock.now = 4, clock.now + RECENT_SECONDS
    assert (await reader.read()).stages["download"].lag == 4


async def test_stage_stands_still_while_it_has_lag_and_finishes_nothing() -> None:
    measure, clock = ScriptedLag(), Clock()
    reader = LagReader(measure, clock)
    still = []
    for finished, lag in ((5, 3), (5, 4), (5, 4), (6, 4), (6, 0), (6, 1)):
        measure.finished, measure.lag = finished, lag
        still.append((await reader.read()).stages["download"].stalled_seconds)
        clock.now += 100
    assert still == [0, 100, 200, 0, 0, 100]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (MissingAclError("READ on group g"), "READ on group g"),
        (NoBrokerError("no broker answers"), "no broker answers"),
        (KeyError("a bug"), "an internal error; the log of the console has it"),
    ],
)
async def test_failed_measurement_is_reported_without_the_old_lag(
    error: Exception, problem: str
) -> None:
    measure, clock = ScriptedLag(), Clock()
    reader = LagReader(measure, clock)
    await reader.read()
    measure.error, clock.now = error, clock.now + FRESH_SECONDS
    await reader.read()
    await asyncio.sleep(0)
    report = await reader.read()
    assert (report.stages, report.problem) == ({}, problem)


async def test_caller_does_not_wait_for_a_slow_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    measure = ScriptedLag()
    measure.go.clear()
    reader = LagReader(measure)
    assert (await reader.read()).problem == "it is being measured"
    assert (await reader.read()).stages == {}
    measure.go.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await reader.read()).stages
    assert measure.calls == 1


async def test_cluster_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.0)
    measure = ScriptedLag()
    measure.go.clear()
    assert "did not answer" in ((await LagReader(measure).read()).problem or "")


async def test_measurement_ends_with_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    measure = ScriptedLag()
    measure.go.clear()
    reader = LagReader(measure)
    await reader.read()
    await reader.aclose()
    await reader.aclose()


KAFKA = KafkaSettings()


async def test_lag_of_all_stages_comes_from_one_reading_of_the_cluster() -> None:
    stages = load_stages()
    found = await measure_lag(KAFKA, stages, Pipeline(KAFKA, stages, read_idle_cluster))
    assert found.keys() == {each.name for each in stages}
    assert found["download"] == StageLag(
        members=1,
        topics=(TopicLag(topic="videos.selected", partitions=1, lag=3),),
        finished=4,
    )


@pytest.mark.parametrize(
    ("missing", "error"),
    [(False, ClusterUnavailableError), (True, MissingAclError)],
)
async def test_group_that_may_not_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, *, missing: bool, error: type[Exception]
) -> None:
    async def read(
        kafka: KafkaSettings, topics: Collection[str], groups: Mapping[str, Collection[str]]
    ) -> ClusterState:
        cluster = await read_idle_cluster(kafka, topics, groups)
        name = "clipmill.download"
        failed = msgspec.structs.replace(
            cluster.groups[name], error="GroupAuthorizationFailedError"
        )
        return msgspec.structs.replace(cluster, groups={**cluster.groups, name: failed})

    async def require_acls(*_: object) -> None:
        if missing:
            raise MissingAclError("Describe on the group clipmill.download is missing")

    monkeypatch.setattr(module, "require_acls", require_acls)
    with pytest.raises(error, match=r"clipmill\.download"):
        await measure_lag(KAFKA, load_stages(), Pipeline(KAFKA, load_stages(), read))
