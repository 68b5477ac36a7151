"""Dead letters in the API and on the pages; the integration tests have the topics."""

from pathlib import Path
from typing import Any

import pytest

from streams.cluster.authorization import MissingAclError
from streams.cluster.connection import ClusterUnavailableError
from streams.deadletters.index import DeadLetterIndex
from tests.unit.streams.console.consoles import HOSTILE
from tests.unit.streams.console.dead_letter_samples import console, dead_letter
from tests.unit.streams.console.test_pages import OWN, Links


@pytest.mark.parametrize(
    ("query", "offsets", "count"),
    [
        ("", [5, 4, 3, 2, 1], 5),
        ("limit=2", [5, 4], 5),
        ("code=network", [4, 1], 2),
        ("code=network.dns,%20internal", [5, 3, 2, 1], 4),
        ("state=parked", [2], 1),
        ("step=extraction&platform=tiktok", [4], 1),
        ("since=2026-01-02T03:00:00Z&until=2026-01-02T04:00:00Z", [4, 3], 2),
        ("engine=1", [], 0),
        ("state=&code=", [5, 4, 3, 2, 1], 5),
    ],
)
async def test_matching_dead_letters_are_listed_newest_first(
    tmp_path: Path, query: str, offsets: list[int], count: int
) -> None:
    async with console(tmp_path) as client:
        body = await (await client.get(f"/api/v1/deadletters?{query}")).json()
        page = Links(await (await client.get(f"/deadletters?{query}")).text())
    names = [f"0-{offset}-1" for offset in offsets]
    assert [each["id"] for each in body["deadletters"]] == names
    assert (body["count"], body["not_indexed"]) == (count, 0)
    assert [target for target in page.targets if "deadletter?" in target] == [
        f"deadletter?id={name}" for name in names
    ]


@pytest.mark.parametrize("path", ["/api/v1/deadletters", "/deadletters"])
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("colour=red", "colour: unknown; there are code, platform"),
        ("state=lost", "'lost' is not one of waiting, replayed, parked, resolved"),
        ("code=foo", "code: 'foo' is neither an error code nor a family of them;"),
        ("code=network,foo.bar", "code: 'foo.bar' is neither an error code nor a family"),
        ("since=soon", "since: 'soon' is neither RFC 3339"),
        ("limit=0", "limit: '0' is not a number"),
    ],
)
async def test_unusable_filter_is_named(
    tmp_path: Path, path: str, query: str, message: str
) -> None:
    async with console(tmp_path) as client:
        response = await client.get(f"{path}?{query}")
        text = await response.text()
    assert response.status == 400
    assert message in (Links(text).text if path == "/deadletters" else text)


async def test_list_counts_states_and_codes_and_names_its_command(tmp_path: Path) -> None:
    async with console(tmp_path) as client:
        text = Links(await (await client.get("/deadletters?code=internal,network")).text()).text
    for expected in ("waiting 3", "parked 1", "resolved 1", "replayed 0", "internal.bug 3"):
        assert expected in text
    assert "clipmill deadletters list --code internal --code network" in text
    assert "Replay 5" in text


async def test_dead_letter_is_shown_with_masked_cookies(tmp_path: Path) -> None:
    async with console(tmp_path) as client:
        body = await (await client.get("/api/v1/deadletters/0-1-1")).json()
        page = await (await client.get("/deadletter?id=0-1-1")).text()
    assert (body["id"], body["state"], body["code"]) == ("0-1-1", "waiting", "network.dns")
    assert (body["key"], body["headers"]) == ("k", [])
    assert body["value"]["format"] == "json"
    assert body["value"]["text"] == '{\n  "cookies": "***",\n  "a": 1\n}'
    assert "s3cret" not in page
    assert "clipmill deadletters replay 0-1-1" in Links(page).text


async def test_text_of_clients_is_shown_as_text(tmp_path: Path) -> None:
    async with console(tmp_path) as client:
        hostile = {"reason": HOSTILE, "request_id": HOSTILE, "code": HOSTILE, "engine": HOSTILE}
        client.dead_letters.add(
            dead_letter(9, **hostile, headers=((HOSTILE, HOSTILE.encode()),), value=b"<script>")
        )
        for path in ("/deadletters", "/deadletter?id=0-9-1", "/replay?id=0-9-1"):
            page = Links(await (await client.get(path)).text())
            assert all((each or "").startswith("static/") for each in page.scripts)
            assert path.startswith("/replay") or "<script>alert(1)</script>" in page.text


@pytest.mark.parametrize("path", ["/api/v1/deadletters/0-9-1", "/deadletter?id=0-9-1"])
async def test_unknown_dead_letter_is_not_found(tmp_path: Path, path: str) -> None:
    async with console(tmp_path) as client:
        response = await client.get(path)
        assert response.status == 404
        assert "0-9-1" in await response.text()


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (DeadLetterIndex().problem, 503),
        (ClusterUnavailableError("there is no topic x; run `clipmill topics apply` first"), 503),
        (MissingAclError("may not READ clipmill.deadletters.v1"), 403),
    ],
)
async def test_unreadable_topic_is_explained(tmp_path: Path, problem: Any, status: int) -> None:
    async with console(tmp_path) as client:
        client.dead_letters.index.problem = problem
        for path in ("/api/v1/deadletters", "/api/v1/deadletters/0-1-1"):
            response = await client.get(path)
            assert response.status == status
            error = (await response.json())["error"]
            assert error == {"field": "kafka", "message": str(problem)}
        page = await client.get("/deadletters")
        assert (page.status, str(problem) in Links(await page.text()).text) == (status, True)


async def test_dead_letter_is_resolved_with_a_note(tmp_path: Path) -> None:
    async with console(tmp_path) as client:
        response = await client.post(
            "/resolve", data={"id": "0-1-1", "note": "<known>"}, headers=OWN
        )
        text = Links(await response.text()).text
        assert (response.status, "<known>" in text) == (200, True)
        response = await client.post("/api/v1/deadletters/0-2-1/resolve", json={"note": "too"})
        assert await response.json() == {"id": "0-2-1", "state": "resolved", "by": "console"}
        body = await (await client.get("/api/v1/deadletters?state=resolved")).json()
        notes = {name: mark.note for name, mark in client.dead_letters.resolved.items()}
    assert body["count"] == 3
    assert notes == {"0-1-1": "<known>", "0-2-1": "too"}


@pytest.mark.parametrize(("body", "status"), [({"note": 7}, 400), ({"note": "x" * 1_001}, 400)])
async def test_unusable_note_is_rejected(
    tmp_path: Path, body: dict[str, object], status: int
) -> None:
    async with console(tmp_path) as client:
        response = await client.post("/api/v1/deadletters/0-1-1/resolve", json=body)
        assert (response.status, client.dead_letters.resolved) == (status, {})


async def test_read_only_console_lists_and_changes_nothing(tmp_path: Path) -> None:
    async with console(tmp_path, read_only=True) as client:
        for path in ("/deadletters", "/deadletter?id=0-1-1", "/replay?all=yes", "/replay"):
            page = await (await client.get(path)).text()
            assert 'method="post"' not in page
        for path in ("/replay", "/resolve"):
            response = await client.post(path, data={"id": "0-1-1"}, headers=OWN)
            assert response.status == 403
        assert (client.dead_letters.plans, client.dead_letters.resolved) == ([], {})


async def test_every_link_leads_to_a_page(tmp_path: Path) -> None:
    async with console(tmp_path) as client:
        for path in ("/deadletters", "/deadletter?id=0-1-1", "/replay?id=0-2-1", "/replay"):
            for target in Links(await (await client.get(path)).text()).targets:
                if not target.startswith("#"):
                    assert (await client.get(f"/{target}")).status == 200, target
