"""Replays over the API and on their page; `tests/acceptance/test_console.py` has real ones."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams.cluster.authorization import MissingAclError
from streams.cluster.connection import ClusterUnavailableError
from streams.deadletters.replay import ReplayFencedError
from tests.unit.streams.console.consoles import Console
from tests.unit.streams.console.dead_letter_samples import console
from tests.unit.streams.console.test_pages import OWN, Links


@pytest.mark.parametrize(
    ("order", "ids", "skipped"),
    [
        ({"filter": {}}, [1, 4], {"parked": 1, "no value": 1, "resolved": 1}),
        ({"filter": {}, "force": True}, [1, 2, 4, 5], {"no value": 1}),
        ({"filter": {}, "limit": 1}, [1], {}),
        ({"filter": {"code": "network"}}, [1, 4], {}),
        ({"ids": ["0-2-1", "0-4-1"]}, [4], {"parked": 1}),
        ({"ids": ["0-2-1"], "force": True}, [2], {}),
    ],
    ids=str,
)
async def test_dry_run_says_what_would_be_replayed_and_why_not(
    tmp_path: Path, order: dict[str, object], ids: list[int], skipped: dict[str, int]
) -> None:
    async with console(tmp_path) as client:
        response = await client.post("/api/v1/replay/dry-run", json=order)
        body = await response.json()
        assert client.dead_letters.plans == []
    assert response.status == 200
    assert body["would_replay"] == len(ids)
    assert body["ids"] == [f"0-{offset}-1" for offset in ids]
    assert sorted(body["skipped"].values()) == sorted(skipped.values())
    assert all(any(key in reason for reason in body["skipped"]) for key in skipped)


@pytest.mark.parametrize(
    ("order", "status", "message"),
    [
        ({}, 400, "say which dead letters"),
        ({"limit": 5}, 400, "say which dead letters"),
        ({"ids": []}, 400, "$.ids"),
        ({"filter": {"colour": "red"}}, 400, "colour: unknown"),
        ({"filter": {"since": 7}}, 400, "$.filter"),
        ({"filter": {}, "rate": 0}, 400, "$.rate"),
        ({"filter": {}, "limit": 0}, 400, "$.limit"),
        ({"filter": {}, "all": True}, 400, "`$.all` is unknown"),
        ({"ids": ["0-9-1"]}, 404, "no such dead letter, or excluded by the filter: 0-9-1"),
        (
            {"ids": ["0-1-1"], "filter": {"code": "internal"}},
            404,
            "no such dead letter, or excluded by the filter: 0-1-1",
        ),
    ],
    ids=str,
)
async def test_unusable_order_is_rejected(
    tmp_path: Path, order: dict[str, object], status: int, message: str
) -> None:
    async with console(tmp_path) as client:
        response = await client.post("/api/v1/replay", json=order)
        assert (response.status, client.dead_letters.plans) == (status, [])
        assert message in (await response.json())["error"]["message"]


async def replay_of(client: Console) -> Any:
    return (await (await client.get("/api/v1/replay")).json())["replay"]


async def ended_replay(client: Console) -> Any:
    client.dead_letters.finish.set()
    async with asyncio.timeout(5):
        while (job := await replay_of(client))["state"] == "running":  # noqa: ASYNC110
            await asyncio.sleep(0)
    return job


async def test_one_replay_runs_at_a_time_and_shows_its_progress(tmp_path: Path) -> None:
    async with console(tmp_path) as client:
        assert await replay_of(client) is None
        response = await client.post("/api/v1/replay", json={"filter": {}})
        assert response.status == 202
        job = await replay_of(client)
        assert (job["state"], job["replayed"], job["expected"]) == ("running", 1, 2)
        refused = await client.post("/api/v1/replay", json={"filter": {}})
        assert refused.status == 409
        assert "1 of 2 replayed" in await refused.text()
        page = await (await client.get("/replay")).text()
        assert "http-equiv" in page
        assert "1 of 2 replayed" in page
        job = await ended_replay(client)
        assert (job["state"], job["replayed"], job["by"]) == ("finished", 2, "console")
        assert "http-equiv" not in await (await client.get("/replay")).text()


async def test_failed_replay_says_why(tmp_path: Path) -> None:
    async with console(tmp_path) as client:
        await client.post("/api/v1/replay", json={"filter": {}})
        client.dead_letters.error = ReplayFencedError("another replay was started")
        job = await ended_replay(client)
        assert (job["state"], job["error"]) == ("failed", "another replay was started")
        assert "another replay was started" in await (await client.get("/replay")).text()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MissingAclError("may not WRITE on transactional-id x"), 403),
        (ReplayFencedError("another replay was started"), 409),
        (ClusterUnavailableError("no broker answers"), 503),
    ],
)
async def test_replay_that_cannot_begin_is_refused(
    tmp_path: Path, error: Exception, status: int
) -> None:
    async with console(tmp_path) as client:
        client.dead_letters.error = error
        response = await client.post("/api/v1/replay", json={"filter": {}})
        assert response.status == status
        assert (await response.json())["error"]["message"] == str(error)
        assert await replay_of(client) is None


async def test_replay_is_confirmed_with_its_count_and_replays_no_more(tmp_path: Path) -> None:
    async with console(tmp_path) as client:
        response = await client.get("/replay?since=2026-01-01&code=network,internal")
        page = await response.text()
        text = Links(page).text
        assert "Replay 2 dead letters?" in text
        assert "1 skipped: parked: requires --force" in text
        assert "clipmill deadletters replay --code network --code internal --since" in text
        assert 'name="since" value="2026-01-01T00:00:00+00:00"' in page
        assert 'name="limit" value="2"' in page
        form = {"code": "network,internal", "since": "2026-01-01", "limit": "2", "rate": "7"}
        started = await client.post("/replay", data=form, headers=OWN, allow_redirects=False)
        assert (started.status, started.headers["Location"]) == (303, "replay")
        (plan,) = client.dead_letters.plans
    assert (plan.limit, plan.force, plan.by) == (2, False, "console")
    assert plan.criteria.codes == ("network", "internal")


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("id=0-4-1", ["Replay 1 dead letter?", "clipmill deadletters replay 0-4-1"]),
        ("id=0-2-1", ["Replay 0 dead letters?", "1 skipped: parked", "Include parked"]),
        ("id=0-2-1&force=true", ["Replay 1 dead letter?", "--limit 1 --force"]),
        ("all=yes", ["Replay 2 dead letters?", "deadletters replay --all --limit 2"]),
    ],
)
async def test_confirmation_names_what_is_replayed(
    tmp_path: Path, query: str, texts: list[str]
) -> None:
    async with console(tmp_path) as client:
        text = Links(await (await client.get(f"/replay?{query}")).text()).text
    assert all(each in text for each in texts), text


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 400),
        ({"rate": "nan", "all": "yes"}, 400),
        ({"all": "yes", "force": "maybe"}, 400),
        ({"id": "0-9-1"}, 404),
    ],
)
async def test_unusable_replay_form_is_rejected(
    tmp_path: Path, form: dict[str, str], status: int
) -> None:
    async with console(tmp_path) as client:
        response = await client.post("/replay", data=form, headers=OWN)
        assert (response.status, client.dead_letters.plans) == (status, [])
