"""A console of a service in which everything is wrong that the overview knows of."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.signals import BREAKER, INTAKE, RATE, BreakerState, IntakeSignal, RateState
from streams.cluster.shared_state import SharedState
from streams.console.health.lag import StageLag
from streams.history.changes import RequestChange
from streams.stage import load_stages
from tests.unit.streams.console.consoles import HOSTILE, Console, running_console, stage_lag
from tests.unit.streams.console.dead_letter_samples import DEAD_LETTERS

NOW = datetime.now(UTC)

BREAKERS = (
    BreakerState(
        platform="tiktok",
        operation="extract",
        egress="direct",
        state="open",
        reason=ErrorCode.RATE_LIMIT_IP_BLOCK,
        since=NOW - timedelta(minutes=4),
        until=NOW + timedelta(hours=2),
        openings=3,
    ),
    BreakerState(
        platform="tiktok",
        operation="download",
        egress="direct",
        state="forced_open",
        since=NOW,
        by=HOSTILE,
    ),
    BreakerState(platform="tiktok", operation="resolve", egress="direct", since=NOW),
)

RATES = (
    RateState(
        platform="tiktok",
        operation="extract",
        egress="direct",
        requests_per_second=0.75,
        reason=ErrorCode.RATE_LIMIT_API,
        since=NOW,
        cuts=2,
    ),
    RateState(platform="tiktok", operation="download", egress="direct", since=NOW, cuts=1),
)

PAUSE = IntakeSignal(paused=True, reason="50 dead letters in a minute", by="selection", at=NOW)


def failed(number: int, error: str, *, hours: float, state: str = "failed") -> RequestChange:
    at = time.time() - hours * 3_600
    return RequestChange(
        request_id=f"{error}-{number}",
        at=at,
        received_at=at - 1.5,
        introduces=True,
        state=state,
        is_final=True,
        video=f"tiktok:{number}",
        error=error,
    )


def changes() -> list[RequestChange]:
    now = time.time()
    return [
        *(failed(number, "network.timeout", hours=number * 0.7) for number in range(30)),
        *(failed(number, "content.private", hours=0.1) for number in range(4)),
        failed(0, "request.invalid", hours=30, state="rejected"),
        failed(0, HOSTILE, hours=0.2),
        RequestChange(
            request_id="parked",
            at=now - 900,
            received_at=now - 1_000,
            introduces=True,
            state="parked",
            video="tiktok:1",
            due=now - 300,
        ),
        RequestChange(
            request_id="stuck",
            at=now - 3_000,
            received_at=now - 3_000,
            introduces=True,
            state="extracted",
            url="https://www.tiktok.com/@a/video/7",
            video="tiktok:2",
        ),
    ]


def stage_lags() -> dict[str, StageLag]:
    lags = {each.name: stage_lag(each) for each in load_stages()}
    by_name = {each.name: each for each in load_stages()}
    return lags | {
        "download": stage_lag(by_name["download"], lag=1_200, members=0),
        "extraction": stage_lag(by_name["extraction"], lag=3, stalled_seconds=700.0),
    }


def add_signals(state: SharedState) -> None:
    for breaker in BREAKERS:
        state.put(f"{BREAKER}{breaker.name}", encode(breaker))
    for rate in RATES:
        state.put(f"{RATE}{rate.name}", encode(rate))
    state.put(f"{INTAKE}selection", encode(PAUSE))


@asynccontextmanager
async def unhealthy_console(directory: Path, **settings: Any) -> AsyncIterator[Console]:
    async with running_console(directory, *changes(), **settings) as client:
        client.lag.stages = stage_lags()
        client.dead_letters.add(*DEAD_LETTERS)
        add_signals(client.services.shared_state)
        yield client
