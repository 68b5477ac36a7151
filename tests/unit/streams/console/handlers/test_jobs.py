from pathlib import Path
from typing import Any

import pytest

from streams.console.jobs.runner import BulkJobRunner
from tests.unit.streams.console.consoles import CHANGES, HOSTILE, Console, running_console
from tests.unit.streams.console.jobs.harness import failed
from tests.unit.streams.console.test_pages import OWN, Links

API = "/api/v1/jobs"


async def run_jobs(client: Console) -> None:
    services = client.services
    runner = BulkJobRunner(services.jobs, services.store, services.producer)
    while await runner.run_chunk():
        pass


async def test_job_is_created_shown_and_listed_over_the_api(tmp_path: Path) -> None:
    order = {
        "command": "retry",
        "filter": {"state": "failed", "since": "1970-01-01T00:00:02Z"},
        "options": {"quality": "360p"},
        "expected": 2,
    }
    async with running_console(tmp_path, *failed(3)) as client:
        response = await client.post(API, json=order)
        created = await response.json()
        await run_jobs(client)
        shown = await (await client.get(f"/api/v1/{created['href']}")).json()
        listed = await (await client.get(API)).json()
        assert len(client.producer.commands) == 2
    assert response.status == 202
    assert (created["state"], created["total"], created["by"]) == ("running", 2, "console")
    assert (shown["state"], shown["published"], shown["options"]) == (
        "done",
        2,
        {"quality": "360p"},
    )
    assert shown["filter"] == {"state": "failed", "since": "1970-01-01T00:00:02.000Z"}
    assert listed == {"jobs": [shown]}


async def test_job_is_stopped_over_the_api(tmp_path: Path) -> None:
    async with running_console(tmp_path, *failed(3)) as client:
        created = await (await client.post(API, json={"command": "retry", "filter": {}})).json()
        response = await client.post(f"/api/v1/{created['href']}/stop", json={})
        body = await response.json()
    assert (response.status, body["state"]) == (202, "stopped")


@pytest.mark.parametrize(
    ("order", "status", "field"),
    [
        ({"filter": {}}, 400, "command"),
        ({"command": "delete", "filter": {}}, 400, "command"),
        ({"command": ["retry"], "filter": {}}, 400, "command"),
        ({"command": "retry"}, 400, "filter"),
        ({"command": "retry", "filter": {"state": 7}}, 400, "filter"),
        ({"command": "retry", "filter": {"colour": "x"}}, 400, "colour"),
        ({"command": "retry", "filter": {"limit": "1"}}, 400, "limit"),
        ({"command": "retry", "filter": {"since": "soon"}}, 400, "since"),
        ({"command": "retry", "filter": {}, "options": {"quality": "9p"}}, 400, "body"),
        ({"command": "cancel", "filter": {}, "options": {}}, 400, "options"),
        ({"command": "retry", "filter": {}, "expected": "3"}, 400, "expected"),
        ({"command": "retry", "filter": {}, "expected": True}, 400, "expected"),
        ({"command": "retry", "filter": {}, "until": "soon"}, 400, "until"),
        ({"command": "retry", "filter": {}, "color": 1}, 400, "body"),
        ({"command": "retry", "filter": {}, "expected": 2}, 409, "expected"),
        ({"command": "cancel", "filter": {}}, 409, "expected"),
    ],
)
async def test_unusable_order_is_named(
    tmp_path: Path, order: dict[str, Any], status: int, field: str
) -> None:
    async with running_console(tmp_path, *failed(3)) as client:
        response = await client.post(API, json=order)
        error = (await response.json())["error"]
        assert await (await client.get(API)).json() == {"jobs": []}
    assert (response.status, error["field"]) == (status, field)


@pytest.mark.parametrize("path", ["/job?id=x", "/api/v1/jobs/x"])
async def test_unknown_job_is_named(tmp_path: Path, path: str) -> None:
    async with running_console(tmp_path) as client:
        stopping = {"/job?id=x": "/stop-job"}.get(path, f"{path}/stop")
        assert (await client.get(path)).status == 404
        assert (await client.post(stopping, headers=OWN)).status == 404


async def test_requests_of_a_filter_are_retried_from_the_list(tmp_path: Path) -> None:
    async with running_console(tmp_path, *failed(3), *CHANGES) as client:
        listed = await (await client.get("/?state=failed")).text()
        assert "Retry all 4" in listed
        assert "Cancel all" not in listed
        page = await (await client.get("/new-job?command=retry&state=failed")).text()
        assert "Retry 4 requests" in Links(page).text
        (until,) = (part.split('"')[0] for part in page.split('name="until" value="')[1:])
        form = {"command": "retry", "state": "failed", "until": until, "quality": "480p"}
        response = await client.post("/new-job", data={**form, "expected": "4"}, headers=OWN)
        before = await response.text()
        await run_jobs(client)
        after = await (await client.get(response.url.path_qs)).text()
        jobs = Links(await (await client.get("/jobs")).text()).text
    assert 'http-equiv="refresh"' in before
    assert "<progress" in before
    assert "Stop" in Links(before).text
    assert "4 of 4" in Links(after).text
    assert 'http-equiv="refresh"' not in after
    assert all(each in jobs for each in ("retry", "state: failed", "done"))


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"expected": "2"}, 409, "retry applies to 3 requests by now, and 2 were expected"),
        ({"expected": "x"}, 400, "The form is incomplete"),
        ({"until": ""}, 400, "The form is incomplete"),
        ({"quality": "9p"}, 400, "$.options.quality"),
    ],
)
async def test_unusable_form_is_shown_again_with_the_present_count(
    tmp_path: Path, change: dict[str, str], status: int, message: str
) -> None:
    form = {"command": "retry", "expected": "3", "until": "1970-01-01T00:01:00Z", "url": ""}
    async with running_console(tmp_path, *failed(3)) as client:
        response = await client.post("/new-job", data=form | change, headers=OWN)
        text = Links(await response.text()).text
        assert client.services.jobs.latest(1) == []
    assert response.status == status
    assert message in text
    assert "Retry 3 requests" in text


async def test_job_is_stopped_on_its_page(tmp_path: Path) -> None:
    async with running_console(tmp_path, *failed(3)) as client:
        created = await (await client.post(API, json={"command": "retry", "filter": {}})).json()
        response = await client.post("/stop-job", data={"id": created["id"]}, headers=OWN)
        assert "stopped" in Links(await response.text()).text


async def test_text_of_a_filter_is_shown_as_text(tmp_path: Path) -> None:
    order = {"command": "retry", "filter": {"url": HOSTILE}}
    async with running_console(tmp_path, *CHANGES) as client:
        created = await (await client.post(API, json=order)).json()
        for path in ("/jobs", f"/job?id={created['id']}"):
            page = Links(await (await client.get(path)).text())
            assert all((each or "").startswith("static/") for each in page.scripts)
            assert HOSTILE in page.text


async def test_read_only_console_shows_jobs_and_offers_none(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES, read_only=True) as client:
        assert "Retry all" not in await (await client.get("/")).text()
        for path in ("/jobs", "/new-job?command=retry"):
            assert 'method="post"' not in await (await client.get(path)).text()
        assert (await client.post(API, json={"command": "retry", "filter": {}})).status == 403
