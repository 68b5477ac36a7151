"""Reports of downloads, kept in memory by request, and their text."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from streams.console import download_progress
from streams.console.download_progress import (
    REPORT_BYTES_MAX,
    REPORT_SECONDS,
    DownloadProgress,
)
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


def test_number_of_reports_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_progress, "REQUESTS_MAX", 10)
    progress = DownloadProgress()
    for number in range(100):
        progress.add(replace(REPORT, request_id=f"r{number}"))
    kept = [number for number in range(100) if progress.get(f"r{number}") is not None]
    assert kept == list(range(90, 100))


@pytest.mark.parametrize(
    "fields",
    [
        {"bytes": -1},
        {"bytes": 10**400},
        {"total_bytes": 2**70},
        {"files_total": -1},
        {"bytes_per_second": 1e300},
        {"eta_seconds": -1.0},
        {"at": "yesterday"},
        {"format_id": "x" * REPORT_BYTES_MAX},
        {"video_key": None},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_report_that_no_worker_sends_is_ignored(fields: dict[str, Any]) -> None:
    progress, message = DownloadProgress(), msgspec.to_builtins(REPORT)
    progress.add_message(message | fields)
    assert progress.get("r1") is None
    progress.add_message(message)
    assert progress.get("r1") == REPORT


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
