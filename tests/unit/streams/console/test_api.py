from pathlib import Path
from urllib.parse import quote

import pytest

from schemas.commands import Cancel, Retry
from streams.cluster.authorization import MissingAclError
from streams.cluster.connection import ClusterUnavailableError
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
        "author": None,
        "title": None,
        "error": "platform.breaker_open",
        "message": None,
        "trace_id": None,
        "retry_of": None,
        "due": "1970-01-01T00:16:40.000Z",
        "attempts": None,
        "received_at": "1970-01-01T00:00:03.000Z",
        "updated_at": "1970-01-01T00:00:04.000Z",
        "files": [],
        "command": None,
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
        ("/api/v1/requests?state=foo", 400, "state", "state: 'foo' is not one of accepted, "),
        ("/api/v1/requests?error=foo", 400, "error", "error: 'foo' is not an error code, such as"),
        ("/api/v1/counts?error=foo", 400, "error", "error: 'foo' is not an error code"),
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


URL = "https://www.tiktok.com/@a/video/7"


async def test_one_request_is_submitted(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        response = await client.post(
            "/api/v1/requests", json={"url": URL, "id": "mine", "options": {"quality": "720p"}}
        )
        body = await response.json()
        published = client.producer.requests
    assert response.status == 202
    assert body == {"requests": [{"id": "mine", "url": URL, "href": "requests/mine"}]}
    assert published == [{"url": URL, "id": "mine", "options": {"quality": "720p"}}]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", f'[{{"url":"{URL}"}},{{"urls":["{URL}","{URL}"]}}]'),
        ("text/plain", f'# two\n{URL}\n\n{{"urls":["{URL}","{URL}"]}}'),
        ("application/x-ndjson", f'{{"url":"{URL}"}}\n{{"urls":["{URL}","{URL}"]}}\n'),
    ],
)
async def test_many_requests_are_submitted(tmp_path: Path, content_type: str, body: str) -> None:
    headers = {"Content-Type": content_type, "Sec-Fetch-Site": "same-origin"}
    async with running_console(tmp_path) as client:
        response = await client.post("/api/v1/requests", data=body, headers=headers)
        single, batch = (await response.json())["requests"]
        published = client.producer.requests
    assert (single["url"], batch["batch_size"]) == (URL, 2)
    assert [each["id"] for each in published] == [single["id"], batch["id"]]
    assert single["id"].endswith("-1")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            f'[{{"url":"{URL}"}},{{"url":"{URL}","options":{{"quality":"9p"}}}}]',
            "$.options.quality",
        ),
        (f'[{{"url":"{URL}"}},7]', "$[1]: not a JSON object"),
        ('{"url":', "$"),
        ("[]", "the body has no request"),
        (f'{{"url":"{URL}","color":1}}', "color"),
        ("\udcff", "$"),
    ],
)
async def test_unusable_request_is_named_and_nothing_is_published(
    tmp_path: Path, body: str, message: str
) -> None:
    data = body.encode(errors="surrogateescape")
    headers = {"Content-Type": "application/json"}
    async with running_console(tmp_path) as client:
        response = await client.post("/api/v1/requests", data=data, headers=headers)
        error = (await response.json())["error"]
        published = client.producer.requests
    assert (response.status, error["field"], published) == (400, "body", [])
    assert message in error["message"]


async def test_other_content_type_is_rejected(tmp_path: Path) -> None:
    headers = {"Content-Type": "text/xml", "Sec-Fetch-Site": "same-origin"}
    async with running_console(tmp_path) as client:
        for path in ("/api/v1/requests", "/api/v1/requests/done/retry"):
            response = await client.post(path, data="<a/>", headers=headers)
            assert response.status == 415


async def test_request_is_cancelled(tmp_path: Path) -> None:
    headers = {"Sec-Fetch-Site": "same-origin"}
    async with running_console(tmp_path) as client:
        response = await client.post("/api/v1/requests/b%2F0/cancel", headers=headers)
        body = await response.json()
        (command,) = client.producer.commands
    assert isinstance(command, Cancel)
    assert (response.status, command.request_id, command.by) == (202, "b/0", "console")
    assert body == {"command": command.id, "request_id": "b/0"}


async def test_request_is_retried_with_changes_and_the_user(tmp_path: Path) -> None:
    proxied = {"user_header": "X-User", "proxies": ["127.0.0.1"]}
    async with running_console(tmp_path, **proxied) as client:
        response = await client.post(
            "/api/v1/requests/done/retry",
            json={"id": "again", "options": {"quality": "480p", "max_bytes": 5}},
            headers={"X-User": "ann"},
        )
        body = await response.json()
        (command,) = client.producer.commands
    assert isinstance(command, Retry)
    assert (command.request_id, command.by) == ("done", "ann")
    assert (command.options.quality, command.options.max_bytes) == ("480p", 5)
    assert command.new_id == command.id == "again"
    assert body == {"id": "again", "href": "requests/again"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"options": {"quality": "9p"}}, "$.options.quality"),
        ({"options": 7}, "$.options"),
        ({"id": "no/slash"}, "$.id"),
        ({"id": [1]}, "$.id"),
        ({"quality": "480p"}, "`$.quality` is unknown; there is id, options"),
    ],
)
async def test_malformed_change_is_named(tmp_path: Path, body: object, message: str) -> None:
    async with running_console(tmp_path) as client:
        response = await client.post("/api/v1/requests/done/retry", json=body)
        error = (await response.json())["error"]
        assert client.producer.commands == []
    assert response.status == 400
    assert message in error["message"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ClusterUnavailableError("no broker at 127.0.0.1:1; is it running?"), 503),
        (MissingAclError("the console may not WRITE clipmill.requests.v1"), 403),
    ],
)
async def test_cluster_that_does_not_take_a_request_is_named(
    tmp_path: Path, error: Exception, status: int
) -> None:
    async with running_console(tmp_path) as client:
        client.producer.error = error
        response = await client.post("/api/v1/requests", json={"url": URL})
        body = await response.json()
    assert response.status == status
    assert body == {"error": {"field": "kafka", "message": str(error)}}
