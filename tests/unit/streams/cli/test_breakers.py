import asyncio
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from schemas.codec import encode
from schemas.errors import ErrorCode
from schemas.signals import BreakerState
from streams.cli import breakers as module
from streams.cli.breakers import breakers_table
from streams.cli.options import operator
from tests.unit.agents.builders import PAST

pytestmark = pytest.mark.usefixtures("own_settings")

CLOSED = BreakerState(platform="tiktok", operation="resolve", egress="direct", since=PAST)
OPEN = BreakerState(
    platform="tiktok",
    operation="extract",
    egress="direct",
    state="open",
    reason=ErrorCode.NETWORK_SERVER,
    since=PAST,
    until=PAST + timedelta(seconds=30),
)
FORCED = BreakerState(
    platform="tiktok",
    operation="download",
    egress="direct",
    state="forced_open",
    since=PAST,
    by="[red]ann",
)


def rendered(states: list[BreakerState]) -> str:
    stream = io.StringIO()
    Console(file=stream, width=140).print(breakers_table(states))
    return stream.getvalue()


def output_of(monkeypatch: pytest.MonkeyPatch, values: dict[str, bytes], *arguments: str) -> str:
    async def read(*_: Any) -> dict[str, bytes]:
        await asyncio.sleep(0)
        return values

    monkeypatch.setattr(module, "read_signals", read)
    result = CliRunner().invoke(module.breakers, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_row_shows_all_fields_of_a_breaker() -> None:
    text = rendered([CLOSED, OPEN, FORCED])
    for part in ("tiktok:resolve:direct", "closed", "forced_open", "[red]ann"):
        assert part in text
    (line,) = [line for line in text.splitlines() if "tiktok:extract:direct" in line]
    for part in ("open", "network.server", "2026-01-02 00:00:00", "2026-01-02 00:00:30"):
        assert part in line


def test_breakers_are_sorted_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {f"breaker/{each.name}": encode(each) for each in (CLOSED, OPEN, FORCED)}
    lines = output_of(monkeypatch, {**values, "breaker/x": b"\xff"}, "--json").splitlines()
    names = [f"{(each := json.loads(line))['operation']}:{each['state']}" for line in lines]
    assert names == ["download:forced_open", "extract:open", "resolve:closed"]
    assert "tiktok:extract:direct" in output_of(monkeypatch, values)


def test_absence_of_breakers_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no circuit breaker" in output_of(monkeypatch, {})
    assert output_of(monkeypatch, {}, "--json") == ""


def test_operator_is_the_login_name_or_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    assert operator() == "ann"

    def no_user() -> str:
        raise OSError

    monkeypatch.setattr("getpass.getuser", no_user)
    assert operator() == ""
