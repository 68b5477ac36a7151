import asyncio
from pathlib import Path

import pytest

from schemas.commands import Cancel, Command, OptionChanges, Retry
from streams.cluster.authorization import MissingAclError
from streams.cluster.connection import ClusterUnavailableError, NoBrokerError
from streams.console.errors import BrokerTimeoutError
from streams.history.rows import RequestFilter
from tests.unit.streams.console.consoles import RecordingProducer
from tests.unit.streams.console.jobs.harness import (
    InterruptedProducer,
    failed,
    job_harness,
    request,
    targets,
)


async def test_matching_requests_are_retried_newest_first_in_chunks(tmp_path: Path) -> None:
    with job_harness(tmp_path, *failed(250), request("done", 0.5, "completed")) as harness:
        job = harness.create(
            "retry", RequestFilter(state="failed"), options=OptionChanges(quality="360p")
        )
        runner = harness.runner()
        steps = []
        while await runner.run_chunk():
            steps.append(harness.job(job.id).published)
        ended = harness.job(job.id)
        first = harness.producer.commands[0]
        assert harness.targets == [f"r{number}" for number in reversed(range(250))]
    assert steps == [100, 200, 250]
    assert (ended.state, ended.total, ended.published, ended.skipped) == ("done", 250, 250, {})
    assert ended.ended_at is not None
    assert isinstance(first, Retry)
    assert (first.options.quality, first.by) == ("360p", "ann")


async def test_chunk_after_a_kill_is_published_again_with_the_same_ids(tmp_path: Path) -> None:
    killed = InterruptedProducer(1)
    with job_harness(tmp_path, *failed(250)) as harness:
        job = harness.create("retry")
        with pytest.raises(KeyboardInterrupt):
            await harness.run(killed)
        assert harness.job(job.id).published == 100
    with job_harness(tmp_path) as harness:
        await harness.run()
        ended = harness.job(job.id)
        ids = [each.new_id for each in harness.producer.commands if isinstance(each, Retry)]
        again = harness.producer.commands[:100]
    assert again == killed.commands[100:]
    assert (ended.state, ended.published, len(set(ids))) == ("done", 250, 150)
    assert len({*targets(killed.commands), *harness.targets}) == 250


async def test_requests_that_a_job_creates_are_not_retried_by_it(tmp_path: Path) -> None:
    with job_harness(tmp_path, *failed(150)) as harness:
        job = harness.create("retry")
        await harness.runner().run_chunk()
        # A worker whose clock is behind has received them; they fail as well.
        names = [each.id or "" for each in harness.producer.commands]
        harness.record(*(request(name, 1.5) for name in names), request("later", 5_000.0))
        await harness.run()
        ended = harness.job(job.id)
        assert sorted(harness.targets) == sorted(f"r{number}" for number in range(150))
    assert (ended.published, ended.skipped) == (150, {"own": 100})


@pytest.mark.parametrize(
    ("command", "target", "skipped"),
    [
        ("retry", ["over"], {"batch": 1, "rejected": 1, "undecided": 2}),
        ("cancel", ["open"], {"batch": 1, "decided": 3}),
    ],
)
async def test_request_to_which_the_command_does_not_apply_is_skipped(
    tmp_path: Path, command: str, target: list[str], skipped: dict[str, int]
) -> None:
    requests = [
        request("over", 1.0, "expired"),
        request("invalid", 1.5, "rejected"),
        request("open", 2.0, "parked"),
        request("open-batch", 3.0, "accepted", url=None),
        request("batch", 4.0, "batch_finished"),
    ]
    with job_harness(tmp_path, *requests) as harness:
        job = harness.create(command, expected=1)
        await harness.run()
        ended = harness.job(job.id)
        assert harness.targets == target
    assert (ended.total, ended.published, ended.skipped) == (5, 1, skipped)


async def test_cancel_has_a_derived_id(tmp_path: Path) -> None:
    with job_harness(tmp_path, request("open", 1.0, "parked")) as harness:
        job = harness.create("cancel")
        await harness.run()
        (command,) = harness.producer.commands
    assert isinstance(command, Cancel)
    assert (command.id or "").startswith(job.id)


async def test_stopped_job_publishes_nothing_more(tmp_path: Path) -> None:
    with job_harness(tmp_path, *failed(250)) as harness:
        job = harness.create("retry")
        await harness.runner().run_chunk()
        harness.jobs.stop(job.id, 5.0)
        await harness.run()
        ended = harness.job(job.id)
    assert (ended.state, ended.published, ended.ended_at) == ("stopped", 100, 5.0)


async def test_job_that_is_stopped_within_a_chunk_counts_it(tmp_path: Path) -> None:
    with job_harness(tmp_path, *failed(250)) as harness:
        job = harness.create("retry")

        class StoppingProducer(RecordingProducer):
            async def send_command(self, *commands: Command) -> None:
                await super().send_command(*commands)
                harness.jobs.stop(job.id, 5.0)

        await harness.run(StoppingProducer())
        ended = harness.job(job.id)
    assert (ended.state, ended.published) == ("stopped", 100)


@pytest.mark.parametrize(
    "error",
    [NoBrokerError("no broker"), ClusterUnavailableError("refused"), BrokerTimeoutError("late")],
)
async def test_job_waits_while_kafka_is_away(tmp_path: Path, error: Exception) -> None:
    with job_harness(tmp_path, *failed(150)) as harness:
        job = harness.create("retry")
        harness.producer.error = error
        assert not await harness.runner().run_chunk()
        waiting = harness.job(job.id)
        harness.producer.error = None
        await harness.run()
        ended = harness.job(job.id)
    assert (waiting.state, waiting.error, waiting.published) == ("running", str(error), 0)
    assert (ended.state, ended.error, ended.published) == ("done", None, 150)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MissingAclError("the console may not WRITE"), "the console may not WRITE"),
        (ZeroDivisionError("a bug"), "ZeroDivisionError('a bug')"),
    ],
)
async def test_job_that_cannot_go_on_has_failed_and_the_next_one_runs(
    tmp_path: Path, error: Exception, message: str
) -> None:
    with job_harness(tmp_path, *failed(3)) as harness:
        job, following = harness.create("retry"), harness.create("retry")
        harness.producer.error = error
        await harness.runner().run_chunk()
        harness.producer.error = None
        await harness.run()
        ended = harness.job(job.id)
        assert harness.job(following.id).state == "done"
    assert (ended.state, ended.error, ended.published) == ("failed", message, 0)


async def test_job_of_an_emptied_history_fails(tmp_path: Path) -> None:
    with job_harness(tmp_path, *failed(3)) as harness:
        job = harness.create("retry")
        harness.history.clear("cluster")
        harness.record(*failed(3))
        await harness.run()
        ended = harness.job(job.id)
        assert harness.producer.commands == []
    assert ended.state == "failed"
    assert "the history was emptied" in str(ended.error)


async def test_jobs_run_in_one_process_at_a_time(tmp_path: Path) -> None:
    with job_harness(tmp_path, *failed(3)) as first, job_harness(tmp_path) as second:
        assert first.jobs.runner_lock.try_acquire()
        running = asyncio.create_task(second.runner().run())
        await asyncio.sleep(0)
        job = first.create("retry")
        await first.run()
        assert second.job(job.id).state == "done"
        assert second.producer.commands == []
        running.cancel()
