from pathlib import Path
from urllib.parse import quote

import pytest

from tests.unit.streams.console.consoles import CHANGES, HOSTILE, running_console


async def test_requests_are_listed_newest_first(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.get("/api/v1/requests")
        body = await response.json()
    assert response.status == 200
    assert [each["id"] for each in body["requests"]] == [HOSTILE, "b/0", "done"]
    assert body["next"] is None
    assert body["requests"][1] == {
        "id": "b/0",
        "batch": "b",
        "state": "parked",
        "is_final": False,
        "step": None,
        "action": None,
        "url": None,
        "platform": None,
        "video": None,
        "error": "platform.breaker_open",
        "due": "1970-01-01T00:16:40.000Z",
        "attempts": None,
        "received_at": "1970-01-01T00:00:03.000Z",
        "updated_at": "1970-01-01T00:00:04.000Z",
    }


async def test_pages_follow_each_other(tmp_path: Path) -> None:
    found = []
    async with running_console(tmp_path, *CHANGES) as client:
        following = "requests?limit=1"
        while following:
            body = await (await client.get(f"/api/v1/{following}")).json()
            found += [each["id"] for each in body["requests"]]
            following = body["next"]
    assert found == [HOSTILE, "b/0", "done"]


@pytest.mark.parametrize("request_id", ["done", "b/0", HOSTILE])
async def test_request_has_its_transitions(tmp_path: Path, request_id: str) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.get(f"/api/v1/requests/{quote(request_id, safe='')}")
        body = await response.json()
    assert (response.status, body["id"]) == (200, request_id)
    if request_id == "done":
        (event,) = body["events"]
        assert event == {
            "at": "1970-01-01T00:00:02.000Z",
            "step": "ledger",
            "transition": "finished",
            "detail": {"a": "b"},
        }


async def test_requests_are_counted_by_state(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        body = await (await client.get("/api/v1/counts")).json()
        of_batch = await (await client.get("/api/v1/counts?batch=b")).json()
    assert body == {"states": {"completed": 1, "parked": 1, "failed": 1}}
    assert of_batch == {"states": {"parked": 1}}


@pytest.mark.parametrize(
    ("path", "status", "field", "message"),
    [
        ("/api/v1/requests/unknown", 404, "id", "the history has no request of this id"),
        ("/api/v1/requests?limit=x", 400, "limit", "limit: 'x' is not a number"),
        ("/api/v1/nothing", 404, "path", "/api/v1/nothing: Not Found"),
    ],
)
async def test_error_names_its_parameter(
    tmp_path: Path, path: str, status: int, field: str, message: str
) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        response = await client.get(path)
        error = (await response.json())["error"]
    assert (response.status, error["field"]) == (status, field)
    assert error["message"].startswith(message)
