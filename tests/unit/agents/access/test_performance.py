"""The built-in plug-in: metrics, quantiles, and the line in the log."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.access.performance import (
    LATEST_MAX,
    WAYS_MAX,
    Ended,
    PerformanceMonitor,
    describe_latest,
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


class Bench:
    """A monitor behind its guard, on a clock of the test's."""

    def __init__(self, platform: str) -> None:
        self.clock, self.platform = Clock(0.0), platform
        self.monitor = PerformanceMonitor(SETTINGS, self.clock)
        self.plugins = Plugins([Plugin("performance", self.monitor, timer=Clock())])

    def done(self, seconds: float, number: int = 1) -> None:
        made = request(self.platform, number)
        self.plugins.start(made)
        self.plugins.complete(made, seconds)

    def failed(self, seconds: float, code: ErrorCode, number: int = 1) -> None:
        made = request(self.platform, number)
        self.plugins.start(made)
        self.plugins.error(made, ClipmillError(code, "it is so"), seconds)

    def count(self, outcome: str) -> float:
        way = {"platform": self.platform, "operation": "extract"}
        return metric("request_seconds_count", **way, outcome=outcome)

    def in_flight(self) -> float:
        return metric("requests_in_flight", platform=self.platform, operation="extract")

    def exported(self, share: str) -> float:
        way = {"platform": self.platform, "operation": "extract"}
        return metric("request_quantile_seconds", **way, quantile=share)


def test_attempts_are_counted_by_outcome() -> None:
    bench = Bench("counted")
    bench.done(0.1)
    bench.done(0.2)
    bench.failed(3.0, ErrorCode.NETWORK_TIMEOUT)
    assert (bench.count("ok"), bench.count("network.timeout"), bench.count("cancelled")) == (
        2,
        1,
        0,
    )


def test_what_is_under_way_is_seen() -> None:
    bench = Bench("flying")
    made = request("flying")
    bench.plugins.start(made)
    bench.plugins.start(made)
    assert bench.in_flight() == 2
    bench.plugins.complete(made, 1.0)
    bench.plugins.error(made, TimeoutError(), 1.0)
    assert bench.in_flight() == 0


def test_quantiles_are_of_the_window() -> None:
    bench = Bench("window")
    for n in range(1, 101):
        bench.done(n / 100)
    assert [bench.exported(share) for share in ("0.5", "0.95", "0.99")] == [0.5, 0.95, 0.99]
    bench.clock.now = 200
    bench.done(7.0)
    bench.clock.now = 301
    assert bench.exported("0.5") == 7.0, "the others are too old"
    bench.clock.now = 501
    assert bench.exported("0.5") == 0.0, "all are"


def test_what_is_remembered_is_bounded() -> None:
    bench = Bench("bounded")
    for _ in range(LATEST_MAX + 10):
        bench.done(1.0)
    for n in range(WAYS_MAX + 10):
        bench.platform = f"bounded{n}"
        bench.done(1.0)
    assert len(bench.monitor._latest) == WAYS_MAX
    assert len(bench.monitor._latest["bounded", "extract"]) == LATEST_MAX
    assert bench.count("ok") == 1, "the metrics go on"


def test_what_is_too_old_is_forgotten() -> None:
    bench = Bench("aging")
    for _ in range(100):
        bench.done(1.0)
    bench.clock.now = 301
    bench.done(1.0)
    assert len(bench.monitor._latest["aging", "extract"]) == 1


def test_now_and_then_a_line_tells_of_the_latest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench("told")
    for n in range(1, 9):
        bench.done(n / 10, n)
    bench.clock.now = 59
    bench.failed(4.0, ErrorCode.NETWORK_TIMEOUT, 9)
    assert caplog.messages == []
    bench.clock.now = 60
    bench.done(0.5, 10)
    bench.done(0.5, 11)
    [line] = caplog.messages
    figures, slowest = line.split("; ")
    assert figures == ("told extract: 10 attempts, 1 failed, p50 0.50 s, p95 4.00 s, p99 4.00 s")
    assert slowest == (
        "slowest: 4.00 s network.timeout r9 (told:9 by direct), 0.80 s ok r8 (told:8 by direct)"
    )


def test_ways_without_attempts_are_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench("quiet")
    bench.done(1.0)
    bench.platform = "loud"
    bench.clock.now = 400
    bench.done(1.0)
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
def test_quantiles_are_by_the_nearest_rank(
    seconds: list[float], share: float, expected: float
) -> None:
    assert quantile(seconds, share) == expected


@given(
    st.lists(st.floats(min_value=0, max_value=1e6), min_size=1),
    st.floats(min_value=0.01, max_value=1.0),
)
def test_so_many_are_not_above_a_quantile(seconds: list[float], share: float) -> None:
    found = quantile(seconds, share)
    assert found in seconds
    assert sum(each <= found for each in seconds) >= share * len(seconds) - 1e-6


def test_a_line_names_no_more_than_there_are() -> None:
    ended = Ended(0.0, 1.0, "ok", request("short"))
    assert describe_latest(("short", "extract"), [ended], 5).endswith(
        "slowest: 1.00 s ok r1 (short:1 by direct)"
    )
    assert (
        describe_latest(("short", "extract"), [replace(ended, outcome="x")], 5).count("fail") == 1
    )


def test_the_entry_point_uses_the_settings_in_force(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMILL_PERFORMANCE__WINDOW_SECONDS", "7")
    assert plugin()._settings == PerformanceSettings(window_seconds=7)
