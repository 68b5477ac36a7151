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
from streams.cluster.connection import ClusterAwayError, NoBrokerError
from streams.settings import KafkaSettings


class AccessHarness:
    """A monitor whose checks end as the test says, and whose waits take no time."""

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
    made = AccessHarness()
    monkeypatch.setattr(module, "require_acls", made.require)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=made.sleep))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.mark.parametrize("kind", [ClusterAwayError, MissingAclError])
async def test_access_that_is_lost_is_a_problem_until_it_is_back(
    harness: AccessHarness, kind: Callable[[str], Exception]
) -> None:
    await harness.run(None, kind("refused"), kind("refused"), None)
    assert harness.seen == [None, None, "refused", "refused", None]
    assert harness.waits == [CHECK_SECONDS, CHECK_SECONDS, PROBLEM_SECONDS, PROBLEM_SECONDS]


async def test_one_line_is_logged_when_it_begins_and_one_when_it_ends(
    harness: AccessHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await harness.run(ClusterAwayError("gone"), ClusterAwayError("gone"), None, None)
    assert [record.getMessage() for record in caplog.records] == [
        "the access to the cluster is lost: gone",
        "the access to the cluster is back",
    ]


async def test_at_the_start_it_is_an_error(harness: AccessHarness) -> None:
    harness.outcomes.append(MissingAclError("READ on topic a"))
    with pytest.raises(MissingAclError, match="READ on topic a"):
        await harness.monitor.require_at_start()
    assert harness.waits == []


async def test_a_broker_that_is_away_at_the_start_is_waited_for_with_one_log_line(
    harness: AccessHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.outcomes += [NoBrokerError("no broker answers"), NoBrokerError("the same"), None]
    await harness.monitor.require_at_start()
    assert harness.waits == [BROKER_POLL_SECONDS] * 2
    assert [record.getMessage() for record in caplog.records] == [
        "no broker answers\nTrying again for up to 60 s."
    ]


async def test_a_broker_that_stays_away_ends_the_start(harness: AccessHarness) -> None:
    patience = KafkaSettings().start_timeout_seconds
    harness.outcomes += [NoBrokerError("no broker answers")] * 1000
    with pytest.raises(NoBrokerError):
        await harness.monitor.require_at_start()
    assert patience <= harness.now <= patience + BROKER_POLL_SECONDS


@pytest.mark.parametrize("kind", [ClusterAwayError, MissingAclError])
async def test_a_refusal_at_the_start_is_not_waited_for(
    harness: AccessHarness, kind: Callable[[str], Exception]
) -> None:
    harness.outcomes += [kind("refused"), None]
    with pytest.raises(kind):  # type: ignore[call-overload]
        await harness.monitor.require_at_start()
    assert harness.waits == []
