"""Dead letters: kept byte for byte, replayed at a rate, parked after a second failure, limited."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil
import trustme

from streams.topics import DEADLETTERS, VALIDATED
from tests.acceptance.client import PipelineClient, page
from tests.pipeline_process import CLIPMILL, PipelineProcess, Process
from tests.standin import video_id

COUNT = 500
PER_SECOND = 100
SETTINGS = {"CLIPMILL_DEADLETTERS__LIMIT": "100000", "CLIPMILL_BREAKER__MINIMUM_CALLS": "100000"}


def untrusted_egress(tmp_path: Path) -> dict[str, str]:
    """Return settings that fail every page by a configuration error: an untrusted root."""
    file = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return {"CLIPMILL_EGRESS__CA_FILE": str(file)}


async def test_interrupted_replay_replays_each_dead_letter_once(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        client = PipelineClient(pipeline)
        worker = await pipeline.start_worker("all", **untrusted_egress(tmp_path))
        videos = {f"r-{number}": video_id(serial=number) for number in range(COUNT)}
        for name, video in videos.items():
            await pipeline.publish({"id": name, "url": page(video), "action": "info"})
        await client.wait_for(list(videos), 90)
        dead_letters = await client.records(DEADLETTERS)
        assert len(dead_letters) == COUNT
        await asyncio.to_thread(worker.terminate)
        await pipeline.start_worker("all")
        await _interrupted_replay(pipeline, replayed=COUNT // 5)
        status, output, errors = await pipeline.clipmill(
            "deadletters", "replay", "--code", "system.config", "--rate", str(PER_SECOND)
        )
        assert status == 0, (output, errors)
        print("\n" + output)
        replays = [f"{name}/replay-1" for name in videos]
        await client.wait_for(replays, 90)
        results = await pipeline.read_results(0)
        assert {results[name][0]["status"] for name in replays} == {"completed"}
        assert {results[name][0]["retry_of"] for name in replays} == videos.keys()
        pages = {video: client.request_counts(video).get("page") for video in videos.values()}
        assert set(pages.values()) == {1}, "a dead letter was replayed twice"
        await _check_bytes(client, dead_letters)


async def _interrupted_replay(pipeline: PipelineProcess, replayed: int) -> None:
    """Start a replay and kill it after ``replayed`` dead letters."""
    command = [CLIPMILL, "deadletters", "replay", "--code", "system.config"]
    command += ["--rate", str(PER_SECOND), "--bootstrap", pipeline.bootstrap]
    replay = Process(command, pipeline.variables, pipeline.directory / "replay.log")
    client = PipelineClient(pipeline)
    while len(await _replayed(client)) < replayed:
        assert psutil.pid_exists(replay.pid)
        await asyncio.sleep(0.1)
    replay.kill()
    assert len(await _replayed(client)) < COUNT


async def _replayed(client: PipelineClient) -> list[Any]:
    records = await client.records(VALIDATED)
    return [each for each in records if "clipmill_replays" in dict(each.headers)]


async def _check_bytes(client: PipelineClient, dead_letters: list[Any]) -> None:
    """Assert that replays keep key, value and headers, apart from the replay headers."""
    records = await client.records(VALIDATED)
    first = {each.value: each for each in records if "clipmill_replays" not in dict(each.headers)}
    replays = [each for each in records if "clipmill_replays" in dict(each.headers)]
    assert len(replays) == len(dead_letters)
    for each in replays:
        original = first[each.value]
        assert each.key == original.key
        kept = [header for header in each.headers if not header[0].startswith("clipmill_replay")]
        assert kept == list(original.headers)


async def test_replay_that_fails_again_is_parked_and_can_be_resolved(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        client = PipelineClient(pipeline)
        await pipeline.start_worker("all", **untrusted_egress(tmp_path))
        await pipeline.publish({"id": "x", "url": page(video_id(serial=1)), "action": "info"})
        await client.outcome("x")
        assert [each["state"] for each in await _listed(pipeline)] == ["waiting"]
        assert (await pipeline.clipmill("deadletters", "replay", "--all"))[0] == 0
        assert (await client.outcome("x/replay-1"))["status"] == "failed"
        states = sorted(each["state"] for each in await _listed(pipeline))
        assert states == ["parked", "replayed"]
        await pipeline.clipmill("deadletters", "replay", "--all")
        assert len(await client.records(DEADLETTERS)) == 2
        [parked] = [each["id"] for each in await _listed(pipeline) if each["state"] == "parked"]
        _, output, _ = await pipeline.clipmill("deadletters", "show", parked)
        assert "system.config" in output
        assert (await pipeline.clipmill("deadletters", "resolve", parked, "--note", "known"))[
            0
        ] == 0
        states = sorted(each["state"] for each in await _listed(pipeline))
        assert states == ["replayed", "resolved"]


async def _listed(pipeline: PipelineProcess) -> list[dict[str, Any]]:
    status, output, errors = await pipeline.clipmill("deadletters", "list", "--json")
    assert status == 0, errors
    return [json.loads(line) for line in output.splitlines()]


async def test_dead_letter_limit_pauses_consumption_until_resumed(tmp_path: Path) -> None:
    limited = {**SETTINGS, "CLIPMILL_DEADLETTERS__LIMIT": "20"}
    async with PipelineProcess(tmp_path, **limited) as pipeline:
        client = PipelineClient(pipeline)
        worker = await pipeline.start_worker("all", **untrusted_egress(tmp_path))
        for number in range(200):
            url = page(video_id(serial=number))
            await pipeline.publish({"id": f"r-{number}", "url": url, "action": "info"})
            await asyncio.sleep(0.02)
        problem = await client.wait_for_problem(worker, "extraction")
        assert "clipmill resume extraction" in problem
        dead_letter_count = len(await client.records(DEADLETTERS))
        assert dead_letter_count < 200
        await asyncio.to_thread(worker.terminate)
        worker = pipeline.spawn_worker("all")
        for _ in range(20):
            await pipeline.read_results(0.1)
        before = len(await pipeline.read_results(0))
        for _ in range(50):
            await pipeline.read_results(0.1)
        assert len(await pipeline.read_results(0)) == before, "a new worker stays paused"
        assert (await pipeline.clipmill("resume", "extraction"))[0] == 0
        await worker.wait_ready()
        await client.wait_for([f"r-{number}" for number in range(200)], 60)
        print(f"\nstopped after {dead_letter_count} dead letters; resumed by command")
