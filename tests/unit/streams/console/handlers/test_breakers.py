from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.codec import encode
from schemas.commands import Command, OpenBreaker, ResetBreaker, ResumeStage
from schemas.signals import ACCOUNT, BREAKER, RATE, AccountState, BreakerState, RateState
from streams.console.access import ANONYMOUS
from streams.console.health.shared_states import STALE_ACCOUNT
from tests.unit.streams.console.consoles import running_console

NAME = "tiktok:extract:direct"
START = datetime(2026, 1, 1, tzinfo=UTC)
JSON = {"Content-Type": "application/json"}


async def test_breakers_and_rates_are_listed_without_malformed_ones(tmp_path: Path) -> None:
    breaker = BreakerState(
        platform="tiktok", operation="extract", egress="direct", state="open", since=START
    )
    rate = RateState(platform="tiktok", operation="extract", egress="direct", since=START, cuts=2)
    async with running_console(tmp_path) as client:
        state = client.services.shared_state
        state.put(f"{BREAKER}{NAME}", encode(breaker))
        state.put(f"{BREAKER}malformed", b"{")
        state.put(f"{RATE}{NAME}", encode(rate))
        breakers = (await (await client.get("/api/v1/breakers")).json())["breakers"]
        rates = (await (await client.get("/api/v1/rates")).json())["rates"]
    assert [(each["name"], each["state"]) for each in breakers] == [(NAME, "open")]
    assert [(each["name"], each["cuts"]) for each in rates] == [(NAME, 2)]


async def test_accounts_are_listed_until_no_worker_has_them(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    main = AccountState(platform="tiktok", account="main", healthy=False, at=now)
    gone = AccountState(platform="tiktok", account="gone", healthy=True, at=now - STALE_ACCOUNT)
    async with running_console(tmp_path) as client:
        for each in (main, gone):
            client.services.shared_state.put(f"{ACCOUNT}{each.name}", encode(each))
        accounts = (await (await client.get("/api/v1/accounts")).json())["accounts"]
    assert [(each["name"], each["healthy"]) for each in accounts] == [("tiktok/main", False)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"breakers/{NAME}/open", OpenBreaker(breaker=NAME, by=ANONYMOUS)),
        (f"breakers/{NAME}/reset", ResetBreaker(breaker=NAME, by=ANONYMOUS)),
        ("stages/download/resume", ResumeStage(stage="download", by=ANONYMOUS)),
    ],
)
async def test_change_is_published_with_its_author(
    tmp_path: Path, path: str, expected: Command
) -> None:
    async with running_console(tmp_path) as client:
        response = await client.post(f"/api/v1/{path}", headers=JSON)
        body = await response.json()
        (command,) = client.producer.commands
    assert (response.status, body) == (202, {"command": command.id})
    assert type(command) is type(expected)
    assert encode({**_fields(command), "id": None}) == encode({**_fields(expected), "id": None})


async def test_change_is_rejected_when_the_console_is_read_only(tmp_path: Path) -> None:
    async with running_console(tmp_path, read_only=True) as client:
        response = await client.post(f"/api/v1/breakers/{NAME}/open", headers=JSON)
        commands = client.producer.commands
    assert (response.status, commands) == (403, [])


def _fields(command: Command) -> dict[str, object]:
    return {name: getattr(command, name) for name in command.__struct_fields__}
