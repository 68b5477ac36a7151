import aiohttp
import pytest

from tests.standin import SCENARIOS, Standin, expected_media, video_id
from tests.unit.standin.clients import Client

VIDEO = video_id(serial=3)
PAGE = f"https://www.tiktok.com/@_/video/{VIDEO}"


async def status(client: Client) -> int:
    async with client.request(PAGE) as response:
        await response.read()
        return response.status


async def call(standin: Standin, method: str, path: str, **options: object) -> object:
    async with (
        aiohttp.ClientSession(standin.control_url, raise_for_status=True) as session,
        session.request(method, path, **options) as response,  # type: ignore[arg-type]
    ):
        found: object = await response.json()
        return found


async def refusal(standin: Standin, method: str, path: str, body: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(standin.control_url) as session,
        session.request(method, path, data=body) as response,
    ):
        return response.status, await response.text()


async def test_switch_is_set_and_cleared(standin: Standin, client: Client) -> None:
    await call(standin, "POST", "/switches", json={"scenario": "page.503"})
    assert await status(client) == 503
    await call(standin, "DELETE", "/switches")
    assert await status(client) == 200


async def test_switch_applies_to_one_video_and_a_number_of_times(
    standin: Standin, client: Client
) -> None:
    wanted = {"scenario": "page.429", "times": 1, "video": VIDEO, "for_seconds": 60}
    await call(standin, "POST", "/switches", json=wanted)

    assert [await status(client), await status(client)] == [429, 200]


async def test_clearing_another_video_keeps_the_switch(standin: Standin, client: Client) -> None:
    standin.switches.set("page.503", video=VIDEO)
    await call(standin, "DELETE", "/switches", params={"video": "1"})
    assert await status(client) == 503
    await call(standin, "DELETE", "/switches", params={"video": VIDEO})
    assert await status(client) == 200


async def test_counters_are_returned(standin: Standin, client: Client) -> None:
    await status(client)
    found = await call(standin, "GET", "/counters")

    assert found == standin.counters.as_json()
    assert isinstance(found, dict)
    assert found["videos"] == {VIDEO: {"page": 1}}


async def test_pace_is_set(standin: Standin) -> None:
    wanted = {"latency_seconds": 0.4, "media_bytes_per_second": 1000.0}
    await call(standin, "POST", "/pace", json=wanted)

    assert standin.switches.latency_seconds == 0.4
    assert standin.switches.media_bytes_per_second == 1000.0


async def test_reset_clears_switches_and_counters(standin: Standin, client: Client) -> None:
    standin.switches.set("page.503")
    await status(client)
    await call(standin, "POST", "/reset")

    assert standin.counters.requests == {}
    assert await status(client) == 200


async def test_expected_media_is_returned(standin: Standin) -> None:
    query = {"video": VIDEO, "format": "play"}
    wanted = expected_media(VIDEO, "play")

    assert await call(standin, "GET", "/media", params=query) == {
        "size": wanted.size,
        "sha256": wanted.sha256,
        "media_type": "video/mp4",
    }


async def test_scenarios_are_listed(standin: Standin) -> None:
    rows = await call(standin, "GET", "/scenarios")

    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == [row.name for row in SCENARIOS]


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        pytest.param("POST", "/switches", '{"scenario": "x"}', "no scenario", id="unknown"),
        pytest.param("POST", "/switches", '{"scenario": 1}', "Expected `str`", id="type"),
        pytest.param("POST", "/switches", '{"scenario": "ok", "a": 1}', "unknown field", id="more"),
        pytest.param("POST", "/switches", "{", "truncated", id="no JSON"),
        pytest.param("POST", "/pace", "[]", "Expected `object`", id="pace"),
        pytest.param("GET", "/media?video=1&format=zzz", "", "has no media", id="no media"),
        pytest.param("GET", "/media", "", "video", id="no query"),
        pytest.param("POST", "/switches", "x" * 70_000, "is not taken", id="too large"),
    ],
)
async def test_invalid_request_is_rejected(
    standin: Standin, method: str, path: str, body: str, words: str
) -> None:
    code, text = await refusal(standin, method, path, body)

    assert (code, words in text) == (400, True)


async def test_unknown_route_is_not_found(standin: Standin) -> None:
    assert await refusal(standin, "GET", "/nothing", "") == (404, "no route GET /nothing")
