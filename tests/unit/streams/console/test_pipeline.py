"""The page and the API of the pipeline, over a cluster that a test describes."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from schemas.codec import encode
from schemas.signals import INTAKE, IntakeSignal
from streams.cluster.connection import NoBrokerError
from streams.cluster.inspection import ClusterState, GroupMember, GroupState
from streams.cluster.shared_state import SharedState
from streams.console.pipeline import (
    CACHE_SECONDS,
    Pipeline,
    PipelineView,
    StageGroup,
    pipeline_view,
)
from streams.settings import KafkaSettings
from streams.stage import load_stages
from tests.unit.streams.console.consoles import read_idle_cluster, running_console
from tests.unit.streams.console.test_pages import Links

KAFKA = KafkaSettings()
SELECTED, GROUP = "clipmill.videos.selected.v1", "clipmill.download"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def view_of(
    group: GroupState, ends: Mapping[int, int], shared_state: SharedState | None = None
) -> PipelineView:
    offsets = {TopicPartition(SELECTED, number): end for number, end in ends.items()}
    cluster = ClusterState(
        beginnings=dict.fromkeys(offsets, 2), ends=offsets, groups={GROUP: group}
    )
    return pipeline_view(load_stages(), KAFKA, cluster, shared_state or SharedState(), NOW)


def download_of(view: PipelineView) -> StageGroup:
    return next(each for each in view.stages if each.name == "download")


@pytest.mark.parametrize(
    ("committed", "lag"),
    [
        ({0: OffsetAndMetadata(4, ""), 1: OffsetAndMetadata(9, "")}, 6),
        ({0: OffsetAndMetadata(4, "finished-ahead=5"), 1: OffsetAndMetadata(9, "")}, 1),
        ({0: OffsetAndMetadata(-1, ""), 1: OffsetAndMetadata(9, "")}, 8),
        ({}, 0),
    ],
)
def test_lag_is_the_number_of_unfinished_records(
    committed: dict[int, OffsetAndMetadata], lag: int
) -> None:
    commits = {TopicPartition(SELECTED, number): each for number, each in committed.items()}
    stage = download_of(view_of(GroupState(committed=commits), {0: 10, 1: 9}))
    assert [(each.topic, each.lag) for each in stage.lag] == [(SELECTED, lag)]


def test_group_that_may_not_be_read_has_its_error_and_no_lag() -> None:
    stage = download_of(view_of(GroupState(error="GroupAuthorizationFailedError"), {0: 10}))
    assert (stage.error, stage.lag) == ("GroupAuthorizationFailedError", ())


def test_paused_stage_has_the_reason() -> None:
    state = SharedState()
    paused = IntakeSignal(paused=True, reason="dead letters", by="download", at=NOW)
    state.put(f"{INTAKE}download", encode(paused))
    assert download_of(view_of(GroupState(), {}, state)).paused == "dead letters"


def test_stages_are_in_the_order_of_their_sources() -> None:
    names = [each.name for each in view_of(GroupState(), {}).stages]
    assert names[:4] == ["validation", "extraction", "selection", "download"]


def test_topic_has_its_offsets_and_parties() -> None:
    view = view_of(GroupState(), {0: 10, 1: 9})
    topic = next(each for each in view.topics if each.name == SELECTED)
    assert (topic.records, len(topic.partitions)) == (15, 2)
    assert topic.produced_by == ("operator", "selection", "recovery", "delay")
    assert topic.consumed_by == ("download",)
    assert (topic.retention_seconds, topic.compacted) == (604_800.0, False)


def test_changelog_belongs_to_its_stage() -> None:
    topics = {each.name: each for each in view_of(GroupState(), {}).topics}
    changelog = topics["clipmill.ledger-outcomes-changelog"]
    assert (changelog.produced_by, changelog.consumed_by) == (("ledger",), ("ledger",))
    assert (changelog.retention_seconds, changelog.compacted) == (None, True)


def test_worker_is_one_although_its_id_differs_by_stage() -> None:
    groups = {
        f"clipmill.{stage}": GroupState(
            members=(GroupMember(name=f"vm-02a3c1ed-{digest}", host="h", partitions={}),)
        )
        for stage, digest in (("selection", "1ac4bf00"), ("download", "cad3a256"))
    }
    cluster = ClusterState(beginnings={}, ends={}, groups=groups)
    view = pipeline_view(load_stages(), KAFKA, cluster, SharedState(), NOW)
    assert view.workers() == [("vm-02a3c1ed", "h", {"selection": [], "download": []})]


def test_worker_has_the_partitions_of_its_stages() -> None:
    members = tuple(
        GroupMember(name=name, host="h", partitions={SELECTED: numbers, "clipmill.other": (7,)})
        for name, numbers in (("b", (1,)), ("a", (2, 0)))
    )
    workers = view_of(GroupState(members=members), {}).workers()
    assert workers == [("a", "h", {"download": [0, 2]}), ("b", "h", {"download": [1]})]


async def test_cluster_is_read_once_in_a_while() -> None:
    times, readings = [0.0], 0

    async def read(
        kafka: KafkaSettings, topics: Collection[str], groups: Mapping[str, Collection[str]]
    ) -> ClusterState:
        nonlocal readings
        readings += 1
        return await read_idle_cluster(kafka, topics, groups)

    pipeline = Pipeline(KAFKA, load_stages(), read, lambda: times[-1])
    for now, expected in ((0.0, 1), (CACHE_SECONDS - 0.1, 1), (CACHE_SECONDS, 2)):
        times.append(now)
        await pipeline.view(SharedState())
        assert readings == expected


async def test_page_and_api_show_stages_workers_and_topics(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        text = Links(await (await client.get("/pipeline")).text()).text
        body = await (await client.get("/api/v1/topics")).json()
    assert all(each in text for each in (SELECTED, GROUP, "Stable", "worker-1", "10.0.0.1"))
    download = next(each for each in body["stages"] if each["name"] == "download")
    assert download["lag"] == [{"topic": SELECTED, "lag": 3}]
    assert download["members"][0]["partitions"] == {SELECTED: [0]}


@pytest.mark.parametrize("path", ["/pipeline", "/api/v1/topics"])
async def test_cluster_that_is_away_is_an_error(tmp_path: Path, path: str) -> None:
    async def fail(*_: object) -> ClusterState:
        raise NoBrokerError("no broker answers")

    async with running_console(tmp_path, read=fail) as client:
        response = await client.get(path)
        assert response.status == 503
        assert "no broker answers" in await response.text()
