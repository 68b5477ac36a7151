"""Built-in performance plug-in: metrics, quantiles and the log line."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.access.performance import (
    SERIES_MAX,
    WINDOW_ATTEMPTS_MAX,
    CompletedAttempt,
    PerformanceMonitor,
    describe_window,
    plugin,
    quantile,
)
from agents.plugins import Plugin, PluginRequest, Plugins
from schemas.attempts import Operation
from schemas.errors import ClipmillError, ErrorCode
from streams.observability.metrics import REGISTRY
from streams.settings import PerformanceSettings
from tests.unit.agents.builders import Clock

SETTINGS = PerformanceSettings(window_seconds=300, log_seconds=60, slowest=2)


def request(platform: str, number: int = 1, operation: Operation = "extract") -> PluginRequest:
    return PluginRequest(
        platform=platform,
        operation=operation,
        egress="direct",
        request_id=f"r{number}",
        subject=f"{platform}:{number}",
        attempt=1,
        trace_id="0" * 32,
    )


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"clipmill_{name}", labels) or 0.0


class MonitorHarness:
    """A performance monitor behind the plug-in guard, on a fake clock."""

    def __init__(self, platform: str) -> None:
        self.clock, self.platform = Clock(0.0), platform
        self.monitor = PerformanceMonitor(SETTINGS, self.clock)
        self.plugins = Plugins([Plugin("performance", self.monitor, timer=Clock())])

    def succeed(self, seconds: float, number: int = 1) -> None:
        made = request(self.platform, number)
        self.plugins.start(made)
        self.plugins.complete(made, seconds)

    def fail(self, seconds: float, code: ErrorCode, number: int = 1) -> None:
        made = request(self.platform, number)
        self.plugins.start(made)
        self.plugins.error(made, ClipmillError(code, "it is so"), seconds)

    def count(self, outcome: str) -> float:
        labels = {"platform": self.platform, "operation": "extract"}
        return metric("request_seconds_count", **labels, outcome=outcome)

    def in_flight(self) -> float:
        return metric("requests_in_flight", platform=self.platform, operation="extract")

    def exported_quantile(self, share: str) -> float:
        labels = {"platform": self.platform, "operation": "extract"}
        return metric("request_quantile_seconds", **labels, quantile=share)


def test_attempts_are_counted_by_outcome() -> None:
    harness = MonitorHarness("counted")
    harness.succeed(0.1)
    harness.succeed(0.2)
    harness.fail(3.0, ErrorCode.NETWORK_TIMEOUT)
    assert (harness.count("ok"), harness.count("network.timeout"), harness.count("cancelled")) == (
        2,
        1,
        0,
    )


def test_attempts_in_flight_are_counted() -> None:
    harness = MonitorHarness("flying")
    made = request("flying")
    harness.plugins.start(made)
    harness.plugins.start(made)
    assert harness.in_flight() == 2
    harness.plugins.complete(made, 1.0)
    harness.plugins.error(made, TimeoutError(), 1.0)
    assert harness.in_flight() == 0


def test_quantiles_cover_the_window_only() -> None:
    harness = MonitorHarness("window")
    for n in range(1, 101):
        harness.succeed(n / 100)
    assert [harness.exported_quantile(share) for share in ("0.5", "0.95", "0.99")] == [
        0.5,
        0.95,
        0.99,
    ]
    harness.clock.now = 200
    harness.succeed(7.0)
    harness.clock.now = 301
    assert harness.exported_quantile("0.5") == 7.0, "the others are too old"
    harness.clock.now = 501
    assert harness.exported_quantile("0.5") == 0.0, "all are"


def test_windows_and_series_are_bounded() -> None:
    harness = MonitorHarness("bounded")
    for _ in range(WINDOW_ATTEMPTS_MAX + 10):
        harness.succeed(1.0)
    for n in range(SERIES_MAX + 10):
        harness.platform = f"bounded{n}"
        harness.succeed(1.0)
    assert len(harness.monitor._windows) == SERIES_MAX
    assert len(harness.monitor._windows["bounded", "extract"]) == WINDOW_ATTEMPTS_MAX
    assert harness.count("ok") == 1, "the metrics go on"


def test_attempts_older_than_the_window_are_dropped() -> None:
    harness = MonitorHarness("aging")
    for _ in range(100):
        harness.succeed(1.0)
    harness.clock.now = 301
    harness.succeed(1.0)
    assert len(harness.monitor._windows["aging", "extract"]) == 1


def test_log_line_is_written_once_per_interval(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    harness = MonitorHarness("told")
    for n in range(1, 9):
        harness.succeed(n / 10, n)
    harness.clock.now = 59
    harness.fail(4.0, ErrorCode.NETWORK_TIMEOUT, 9)
    assert caplog.messages == []
    harness.clock.now = 60
    harness.succeed(0.5, 10)
    harness.succeed(0.5, 11)
    [line] = caplog.messages
    figures, slowest = line.split("; ")
    assert figures == ("told extract: 10 attempts, 1 failed, p50 0.50 s, p95 4.00 s, p99 4.00 s")
    assert slowest == (
        "slowest: 4.00 s network.timeout r9 (told:9 by direct), 0.80 s ok r8 (told:8 by direct)"
    )


def test_series_without_recent_attempts_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    harness = MonitorHarness("quiet")
    harness.succeed(1.0)
    harness.platform = "loud"
    harness.clock.now = 400
    harness.succeed(1.0)
    assert [line.split()[0] for line in caplog.messages] == ["loud"]


@pytest.mark.parametrize(
    ("seconds", "share", "expected"),
    [
        ([], 0.5, 0.0),
        ([3.0], 0.01, 3.0),
        ([3.0], 1.0, 3.0),
        ([2.0, 1.0], 0.5, 1.0),
        ([2.0, 1.0], 0.51, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 0.75, 3.0),
    ],
)
def test_quantile_uses_the_nearest_rank(
    seconds: list[float], share: float, expected: float
) -> None:
    assert quantile(seconds, share) == expected


@given(
    st.lists(st.floats(min_value=0, max_value=1e6), min_size=1),
    st.floats(min_value=0.01, max_value=1.0),
)
def test_quantile_bounds_its_share_of_values(seconds: list[float], share: float) -> None:
    value = quantile(seconds, share)
    assert value in seconds
    assert sum(each <= value for each in seconds) >= share * len(seconds) - 1e-6


def test_slowest_list_is_no_longer_than_the_window() -> None:
    ended = CompletedAttempt(0.0, 1.0, "ok", request("short"))
    assert describe_window(("short", "extract"), [ended], 5).endswith(
        "slowest: 1.00 s ok r1 (short:1 by direct)"
    )
    assert (
        describe_window(("short", "extract"), [replace(ended, outcome="x")], 5).count("fail") == 1
    )


def test_entry_point_uses_the_settings_in_force(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMILL_PERFORMANCE__WINDOW_SECONDS", "7")
    assert plugin()._settings == PerformanceSettings(window_seconds=7)
