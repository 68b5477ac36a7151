from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from typing import Literal

from msgspec import convert

from agents.engine.javascript_support import JavaScriptSupport
from agents.platform_list import PlatformRow, SharedStates, hints, platform_rows, platforms_table
from agents.platforms.registry import GROUP, Platforms
from schemas.attempts import Operation
from schemas.signals import BreakerState
from streams.media_host_waits import WaitingHost
from streams.settings.platforms import ConfiguredSite

State = Literal["closed", "open"]
SITE = ConfiguredSite(
    hosts=("mine.example",), extractors=("Mine",), media_hosts=(".cdn.mine.example",)
)
POINTS = (
    EntryPoint("tiktok", "agents.platforms.tiktok.handler:TikTok", GROUP),
    EntryPoint("gone", "no.such.module:Gone", GROUP),
)
PLATFORMS = Platforms.from_entry_points(POINTS, {"mine": SITE})


def breaker(name: str, state: State) -> BreakerState:
    platform, operation, egress = name.split(":")
    return BreakerState(
        platform=platform,
        operation=convert(operation, Operation),
        egress=egress,
        state=state,
        since=datetime.now(UTC),
    )


def rows(*states: BreakerState) -> dict[str, PlatformRow]:
    return rows_of(SharedStates(breakers=states))


def rows_of(shared: SharedStates) -> dict[str, PlatformRow]:
    return {row.name: row for row in platform_rows(PLATFORMS, {"tiktok"}, shared)}


def waiting(platform: str, host: str, videos: int) -> WaitingHost:
    return WaitingHost(platform=platform, host=host, videos=videos)


def test_platforms_by_code_settings_and_broken_ones_are_described() -> None:
    found = rows()
    assert list(found) == ["gone", "mine", "tiktok"]
    assert {name: row.by for name, row in found.items()} == {
        "gone": "broken",
        "mine": "settings",
        "tiktok": "code",
    }
    assert found["mine"].media_hosts == (".cdn.mine.example",)
    assert (found["tiktok"].login, found["mine"].login) == (True, False)
    assert "photos" in found["tiktok"].content
    assert found["tiktok"].listings
    assert "ModuleNotFoundError" in (found["gone"].error or "")


def test_breakers_are_those_of_the_platform() -> None:
    states = (
        breaker("tiktok:extract:direct", "closed"),
        breaker("tiktok:download:a", "open"),
        breaker("mine:extract:direct", "closed"),
    )
    found = rows(*states)
    assert found["tiktok"].breakers == {"download:a": "open", "extract:direct": "closed"}
    assert found["mine"].breakers == {"extract:direct": "closed"}


def test_breakers_and_waiting_videos_are_unknown_without_kafka() -> None:
    found = platform_rows(PLATFORMS, (), None)
    assert {(row.breakers, row.waiting) for row in found} == {(None, None)}
    assert list(hints(found)) == []


def test_unknown_media_hosts_are_named_until_the_settings_permit_them() -> None:
    hosts = (
        waiting("tiktok", "a.example", 3),
        waiting("mine", "x.cdn.mine.example", 2),
        waiting("mine", "other.example", 1),
        waiting("gone", "a.example", 1),
    )
    found = rows_of(SharedStates(hosts=hosts))
    assert {name: row.waiting for name, row in found.items()} == {
        "gone": None,
        "mine": {"other.example": 1},
        "tiktok": {"a.example": 3},
    }
    mine, tiktok = hints(list(found.values()))
    assert mine == (
        "1 video waits for media at other.example, which is not a host of mine; if it is one, add"
        ' ".other.example" to platforms.mine.media_hosts and restart the workers'
    )
    assert tiktok.startswith("3 videos wait for media at a.example, ")


def test_missing_javascript_is_named_for_the_platforms_that_need_it() -> None:
    points = (
        *POINTS,
        EntryPoint("youtube", "agents.platforms.youtube:YouTube", GROUP),
    )
    missing = JavaScriptSupport(problems=("Deno is not installed; install it",))
    found = platform_rows(Platforms.from_entry_points(points), (), None, javascript=missing)
    assert {row.name: row.javascript for row in found if row.javascript} == {"youtube": missing}
    assert list(hints(found)) == [
        "youtube: JavaScript is not run: Deno is not installed; install it"
    ]
    found = platform_rows(
        Platforms.from_entry_points(points), (), None, javascript=JavaScriptSupport()
    )
    assert list(hints(found)) == []


def test_table_has_a_row_per_platform_and_names_open_breakers() -> None:
    table = platforms_table(list(rows(breaker("tiktok:download:a", "open")).values()))
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["gone", "mine", "tiktok"]
    assert cells[-1][1:] == ["closed", "download:a open"]
