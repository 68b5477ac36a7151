from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.extraction.engine import _export_stats, engine_settings
from schemas.video import EngineVersions
from streams.observability.metrics import (
    ENGINE_IMPERSONATION,
    ENGINE_INFO,
    ENGINE_NATIVE_PROOF_OF_WORK,
    ENGINE_PROCESSES,
)
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
