import sqlite3
from pathlib import Path

import pytest

from streams.console.jobs import store
from streams.console.jobs.store import JobStore, JobStoreError
from tests.unit.streams.console.jobs.harness import failed, job_harness


def test_jobs_survive_the_process_and_are_listed_newest_first(tmp_path: Path) -> None:
    with job_harness(tmp_path, *failed(1)) as harness:
        first, second = harness.create("retry"), harness.create("retry")
    with job_harness(tmp_path) as harness:
        assert harness.jobs.latest(9) == [second, first]
        assert harness.jobs.latest(1) == [second]
        assert harness.jobs.first_running() == first


def test_oldest_ended_jobs_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "JOBS_MAX", 2)
    with job_harness(tmp_path, *failed(1)) as harness:
        running, *ended = (harness.create("retry") for _ in range(3))
        for each in ended:
            harness.jobs.stop(each.id, 1.0)
        last = [harness.create("retry") for _ in range(2)]
        assert [each.id for each in harness.jobs.latest(9)] == [
            *(each.id for each in reversed(last)),
            running.id,
        ]


def test_ended_job_stays_as_it_is(tmp_path: Path) -> None:
    with job_harness(tmp_path, *failed(1)) as harness:
        job = harness.create("retry")
        stopped = harness.jobs.stop(job.id, 1.0)
        assert harness.jobs.stop(job.id, 2.0) == stopped
        assert harness.jobs.stop("unknown", 2.0) is None


def test_unusable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database" * 100)
    with sqlite3.connect(tmp_path / "later.db") as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    for name, message in (("text.db", "not a database"), ("later.db", "of another version")):
        with pytest.raises(JobStoreError, match=message), JobStore(tmp_path / name):
            pass
