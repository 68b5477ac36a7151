"""Reports of downloads, kept in memory by request, and their text."""

from typing import Any

import pytest
from msgspec.structs import replace

from streams.console import download_progress
from streams.console.download_progress import REPORT_SECONDS, DownloadProgress
from streams.console.rendering import format_progress
from tests.unit.streams.console.rows import progress_report

REPORT = progress_report("r1")


def test_newest_report_counts_until_it_is_old() -> None:
    now = [0.0]
    progress = DownloadProgress(lambda: now[0])
    progress.add(REPORT)
    progress.add(newer := replace(REPORT, bytes=2_000_000))
    now[0] = REPORT_SECONDS - 1
    assert (progress.get("r1"), progress.get("other")) == (newer, None)
    now[0] = REPORT_SECONDS + 1
    assert progress.get("r1") is None


def test_changed_requests_are_returned_once() -> None:
    progress = DownloadProgress()
    for name in ("a", "b", "a"):
        progress.add(replace(REPORT, request_id=name))
    assert progress.take_changed() == {"a", "b"}
    assert progress.take_changed() == frozenset()


def test_reports_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_progress, "REQUESTS_MAX", 10)
    progress = DownloadProgress()
    for number in range(100):
        progress.add(replace(REPORT, request_id=f"r{number}"))
    assert len(progress.take_changed()) <= 10
    kept = [number for number in range(100) if progress.get(f"r{number}") is not None]
    assert kept == list(range(90, 100))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "1.0 MB of 4.0 MB, 500.0 kB/s, 6.00 s left"),
        ({"total_bytes": None, "eta_seconds": None}, "1.0 MB, 500.0 kB/s"),
        ({"bytes": 0, "bytes_per_second": 0.0, "eta_seconds": None}, "0 B of 4.0 MB, 0 B/s"),
        (
            {"files_done": 3, "files_total": 35, "eta_seconds": 90.0},
            "1.0 MB of 4.0 MB, 500.0 kB/s, 1 min 30 s left, 3 of 35 files",
        ),
    ],
)
def test_report_is_one_line(fields: dict[str, Any], text: str) -> None:
    assert format_progress(replace(REPORT, **fields)) == text
