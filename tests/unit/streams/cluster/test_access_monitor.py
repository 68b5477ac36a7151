import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from streams.cluster import access_monitor as module
from streams.cluster.access_monitor import (
    BROKER_POLL_SECONDS,
    CHECK_SECONDS,
    PROBLEM_SECONDS,
    AccessMonitor,
)
from streams.cluster.authorization import MissingAclError
from streams.cluster.connection import ClusterUnavailableError, NoBrokerError
from streams.settings import KafkaSettings


class AccessHarness:
    """Access monitor with given check outcomes, and waits that take no time."""

    def __init__(self) -> None:
        self.outcomes: list[Exception | None] = []
        self.waits: list[float] = []
        self.now = 0.0
        self.seen: list[str | None] = []
        self.monitor = AccessMonitor(KafkaSettings(), ())

    async def require(self, *_: object) -> None:
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome

    async def sleep(self, seconds: float) -> None:
        self.seen.append(self.monitor.problem())
        if not self.outcomes:
            raise asyncio.CancelledError
        self.waits.append(seconds)
        self.now += seconds

    async def run(self, *outcomes: Exception | None) -> None:
        self.outcomes += outcomes
        with pytest.raises(asyncio.CancelledError):
            await self.monitor.run()


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> AccessHarness:
    harness = AccessHarness()
    monkeypatch.setattr(module, "require_acls", harness.require)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=harness.sleep))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: harness.now))
    return harness


@pytest.mark.parametrize("kind", [ClusterUnavailableError, MissingAclError])
async def test_lost_access_is_a_problem_until_restored(
    harness: AccessHarness, kind: Callable[[str], Exception]
) -> None:
    await harness.run(None, kind("refused"), kind("refused"), None)
    assert harness.seen == [None, None, "refused", "refused", None]
    assert harness.waits == [CHECK_SECONDS, CHECK_SECONDS, PROBLEM_SECONDS, PROBLEM_SECONDS]


async def test_loss_and_recovery_are_logged_once_each(
    harness: AccessHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await harness.run(ClusterUnavailableError("gone"), ClusterUnavailableError("gone"), None, None)
    assert [record.getMessage() for record in caplog.records] == [
        "access to the cluster is lost: gone",
        "access to the cluster is restored",
    ]


async def test_missing_acl_at_startup_raises(harness: AccessHarness) -> None:
    harness.outcomes.append(MissingAclError("READ on topic a"))
    with pytest.raises(MissingAclError, match="READ on topic a"):
        await harness.monitor.require_at_start()
    assert harness.waits == []


async def test_unavailable_broker_at_startup_is_polled_with_one_log_line(
    harness: AccessHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.outcomes += [NoBrokerError("no broker answers"), NoBrokerError("the same"), None]
    await harness.monitor.require_at_start()
    assert harness.waits == [BROKER_POLL_SECONDS] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "no broker answers\nRetrying for up to 60 s."
    ]


async def test_broker_unavailable_beyond_the_start_timeout_raises(harness: AccessHarness) -> None:
    timeout = KafkaSettings().start_timeout_seconds
    harness.outcomes += [NoBrokerError("no broker answers")] * 1000
    with pytest.raises(NoBrokerError):
        await harness.monitor.require_at_start()
    assert timeout <= harness.now <= timeout + BROKER_POLL_SECONDS


@pytest.mark.parametrize("kind", [ClusterUnavailableError, MissingAclError])
async def test_refusal_at_startup_is_not_retried(
    harness: AccessHarness, kind: Callable[[str], Exception]
) -> None:
    harness.outcomes += [kind("refused"), None]
    with pytest.raises(kind):  # type: ignore[call-overload]
        await harness.monitor.require_at_start()
    assert harness.waits == []
