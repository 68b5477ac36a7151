from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.engine.interface import EngineStats
from agents.extraction.engine import _export_stats, _publish_state, engine_settings
from schemas.codec import decode
from schemas.signals import EngineState
from schemas.video import EngineVersions
from streams.observability.metrics import (
    ENGINE_IMPERSONATION,
    ENGINE_INFO,
    ENGINE_NATIVE_PROOF_OF_WORK,
    ENGINE_PROCESSES,
)
from streams.records import Outgoing
from streams.settings import EngineSettings
from tests.unit.agents.builders import make_context, make_settings


def test_engine_settings_come_from_the_settings(tmp_path: Path) -> None:
    engine = EngineSettings(
        processes=3,
        threads=2,
        request_timeout_seconds=7,
        page_bytes=1_000,
        packages_dir=tmp_path / "packages",
        javascript=False,
    )
    found = engine_settings(make_settings(engine=engine, data_dir=tmp_path), ("a:B",))
    assert (found.preload, found.packages_dir) == (("a:B",), tmp_path / "packages")
    assert (found.processes, found.threads_per_process) == (3, 2)
    assert not found.javascript
    assert (found.page_bytes_max, found.request_timeout_seconds) == (1_000, 7)


@pytest.mark.parametrize(
    ("alive", "impersonation", "problem"),
    [(2, True, None), (0, False, "no engine process is alive")],
)
def test_engine_stats_are_exported_as_metrics_and_a_health_check(
    alive: int, impersonation: bool, problem: str | None
) -> None:
    context, _ = make_context(make_settings())
    stats = SimpleNamespace(
        processes_alive=alive,
        restarts=1,
        impersonation=impersonation,
        native_proof_of_work=impersonation,
        versions=EngineVersions(yt_dlp="1", curl_cffi="2"),
    )
    engine: Any = SimpleNamespace(stats=lambda: stats)
    _export_stats(engine, context)
    (check,) = context.checks
    assert check() == problem
    assert ENGINE_PROCESSES._value.get() == alive
    assert ENGINE_IMPERSONATION._value.get() == float(impersonation)
    assert ENGINE_NATIVE_PROOF_OF_WORK._value.get() == float(impersonation)
    assert ENGINE_INFO.labels("1", "2")._value.get() == 1


def test_engine_state_is_published_under_the_name_of_the_worker_without_paths(
    tmp_path: Path,
) -> None:
    settings = make_settings(engine=EngineSettings(packages_dir=tmp_path / "packages"))
    context, _ = make_context(settings)
    stats = EngineStats(
        processes_wanted=3,
        processes_alive=2,
        pids=(7, 8),
        fork_server_pid=6,
        jobs_in_flight=4,
        jobs_waiting=5,
        kills=1,
        crashes=2,
        recycled=3,
        restarts=6,
        start_failures=7,
        versions=EngineVersions(yt_dlp="1", curl_cffi="2"),
        impersonation=True,
    )
    engine: Any = SimpleNamespace(stats=lambda: stats)
    _publish_state(engine, context)
    ((_, task),) = context.periodic
    ((record,),) = task()
    assert isinstance(record, Outgoing)
    assert record.key == b"engine/worker"
    assert str(tmp_path).encode() not in (record.value or b"")
    state = decode(record.value or b"", EngineState)
    assert (state.processes, state.processes_alive, state.jobs_in_flight) == (3, 2, 4)
    assert (state.has_own_packages, state.versions) == (True, stats.versions)
