"""Orders: recorded with their author before they are carried out, and listed."""

from pathlib import Path
from typing import Any

import pytest

from schemas.codec import encode
from schemas.commands import RecordOrder
from streams.console.access import ANONYMOUS
from streams.console.errors import BrokerTimeoutError
from streams.console.handlers.orders import ORDERS
from streams.history.orders import Order
from tests.unit.streams.console.consoles import CHANGES, HOSTILE, Console, running_console
from tests.unit.streams.console.dead_letter_samples import DEAD_LETTERS
from tests.unit.streams.console.test_pages import OWN, Links

JSON = {"Content-Type": "application/json"}

PROXIED = {"user_header": "X-User", "proxies": ["127.0.0.1"]}
"""Settings of a console behind a proxy that names the user."""

DEAD_LETTER = next(each.id for each in DEAD_LETTERS if each.mark is None)

API: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "submit": (
        "requests",
        {"id": "r", "urls": ["https://a.example/1", "https://a.example/2"]},
        {"order": "submit", "subject": "r", "count": 2},
    ),
    "retry all": (
        "jobs",
        {"command": "retry", "filter": {"state": "failed"}, "options": {"quality": "480p"}},
        {"order": "retry_all", "count": 1, "note": "state=failed, quality=480p"},
    ),
    "cancel all": (
        "jobs",
        {"command": "cancel", "filter": {}},
        {"order": "cancel_all", "count": 1, "note": ""},
    ),
    "replay": (
        "replay",
        {"filter": {"state": "waiting"}, "limit": 1},
        {"order": "replay", "subject": "", "count": 1, "note": "state=waiting, limit=1"},
    ),
    "replay one": ("replay", {"ids": [DEAD_LETTER]}, {"order": "replay", "subject": DEAD_LETTER}),
    "resolve": (
        f"deadletters/{DEAD_LETTER}/resolve",
        {"note": "done by hand"},
        {"order": "resolve", "subject": DEAD_LETTER, "count": 1, "note": "done by hand"},
    ),
}

PAGES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "submit": (
        "submit",
        {"text": "https://a.example/1 https://a.example/2"},
        {"order": "submit", "count": 2},
    ),
    "retry all": (
        "new-job",
        {"command": "retry", "state": "failed", "expected": "1", "until": "2020-01-01T00:00:00Z"},
        {"order": "retry_all", "count": 1, "note": "state=failed"},
    ),
    "replay": (
        "replay",
        {"id": DEAD_LETTER},
        {"order": "replay", "subject": DEAD_LETTER, "count": 1},
    ),
    "resolve": (
        "resolve",
        {"id": DEAD_LETTER, "note": "why"},
        {"order": "resolve", "subject": DEAD_LETTER, "note": "why"},
    ),
}


def fields(order: RecordOrder, expected: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(order, name) for name in expected}


@pytest.mark.parametrize(("path", "body", "expected"), API.values(), ids=API)
async def test_order_over_the_api_is_recorded_with_the_user_of_the_proxy(
    tmp_path: Path, path: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    async with running_console(tmp_path, *CHANGES, **PROXIED) as client:
        client.dead_letters.add(*DEAD_LETTERS)
        headers = {**JSON, "X-User": "ann"}
        response = await client.post(f"/api/v1/{path}", data=encode(body), headers=headers)
        (order,) = client.producer.orders
    assert response.status in (200, 202)
    assert fields(order, expected) == expected
    assert order.by == "ann"


@pytest.mark.parametrize(("path", "form", "expected"), PAGES.values(), ids=PAGES)
async def test_order_of_a_page_is_recorded(
    tmp_path: Path, path: str, form: dict[str, str], expected: dict[str, Any]
) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        client.dead_letters.add(*DEAD_LETTERS)
        response = await client.post(f"/{path}", data=form, headers=OWN, allow_redirects=False)
        (order,) = client.producer.orders
    assert response.status == 303
    assert fields(order, expected) == expected
    assert order.by == ANONYMOUS


async def test_stop_of_a_job_is_recorded(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        body = encode({"command": "cancel", "filter": {}})
        job = await (await client.post("/api/v1/jobs", data=body, headers=JSON)).json()
        await client.post(f"/api/v1/jobs/{job['id']}/stop", headers=JSON)
        await client.post("/stop-job", data={"id": job["id"]}, headers=OWN)
        unknown = await client.post("/api/v1/jobs/none/stop", headers=JSON)
        orders = client.producer.orders[1:]
    assert [(each.order, each.subject, each.count) for each in orders] == [
        ("stop_job", job["id"], 3),
        ("stop_job", job["id"], 3),
    ]
    assert unknown.status == 404


@pytest.mark.parametrize(("path", "body", "_expected"), API.values(), ids=API)
async def test_order_that_is_not_recorded_is_not_carried_out(
    tmp_path: Path, path: str, body: dict[str, Any], _expected: object
) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        client.dead_letters.add(*DEAD_LETTERS)
        client.producer.error = BrokerTimeoutError("no acknowledgement")
        response = await client.post(f"/api/v1/{path}", data=encode(body), headers=JSON)
        assert response.status == 503
        assert client.producer.requests == []
        assert client.services.jobs.latest(10) == []
        assert (client.dead_letters.plans, client.dead_letters.resolved) == ([], {})


REJECTED: list[tuple[str, dict[str, Any], int]] = [
    ("requests", {"url": "x", "cookies": "y"}, 400),
    ("jobs", {"command": "retry", "filter": {"state": "rejected"}}, 409),
    ("jobs", {"command": "retry", "filter": {"state": "none"}}, 400),
    ("jobs", {"command": "retry", "filter": {"error": "none"}}, 400),
    ("replay", {"ids": ["unknown"]}, 404),
    ("deadletters/unknown/resolve", {}, 404),
    (f"deadletters/{DEAD_LETTER}/resolve", {"note": "x" * 1_001}, 400),
]


@pytest.mark.parametrize(("path", "body", "status"), REJECTED)
async def test_rejected_order_is_not_recorded(
    tmp_path: Path, path: str, body: dict[str, Any], status: int
) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        client.dead_letters.add(*DEAD_LETTERS)
        response = await client.post(f"/api/v1/{path}", data=encode(body), headers=JSON)
        assert (response.status, client.producer.orders) == (status, [])


async def test_second_replay_is_not_recorded(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        client.dead_letters.add(*DEAD_LETTERS)
        for status in (202, 409):
            body = encode({"ids": [DEAD_LETTER]})
            response = await client.post("/api/v1/replay", data=body, headers=JSON)
            assert response.status == status
        assert len(client.producer.orders) == 1


def add(client: Console, *orders: Order) -> None:
    store = client.services.store
    store.apply("commands", orders, {}, store.open_generation("cluster"))


def order(number: int, **given: Any) -> Order:
    values = {"by": "ann", "order": "cancel", "subject": "done", **given}
    return Order(id=f"0-{number}", at=float(number), **values)


async def test_pages_of_the_list_are_linked_and_filtered(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        add(client, *map(order, range(5)), order(5, by="eve"))
        found, path = [], "orders?by=ann&limit=2"
        while path:
            body = await (await client.get(f"/api/v1/{path}")).json()
            found += [each["id"] for each in body["orders"]]
            path = body["next"]
        page = Links(await (await client.get("/orders?limit=2")).text())
        (older,) = (each for each in page.targets if "after=" in each)
        rest = Links(await (await client.get(f"/{older}")).text())
    assert found == ["0-4", "0-3", "0-2", "0-1", "0-0"]
    assert "eve" in page.text
    assert "eve" not in rest.text


@pytest.mark.parametrize(
    "query", ["order=record_order", "order=x", "since=x", "limit=0", "after=x", "who=ann"]
)
async def test_unusable_parameter_is_rejected(tmp_path: Path, query: str) -> None:
    async with running_console(tmp_path) as client:
        for path in ("/api/v1/orders", "/orders"):
            assert (await client.get(f"{path}?{query}")).status == 400


def test_filter_offers_every_order() -> None:
    assert {"cancel", "open_breaker", "resume_stage", "submit", "retry_all", "replay"} <= {*ORDERS}


async def test_subject_links_to_its_page_while_there_is_one(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        client.dead_letters.add(*DEAD_LETTERS)
        body = encode({"command": "cancel", "filter": {}})
        job = await (await client.post("/api/v1/jobs", data=body, headers=JSON)).json()
        add(
            client,
            order(1),
            order(2, subject="pruned"),
            order(3, subject=DEAD_LETTER, order="resolve"),
            order(4, subject=job["id"], order="cancel_all"),
        )
        page = Links(await (await client.get("/orders")).text())
        linked = {each for each in page.targets if "id=" in each}
        assert linked == {"request?id=done", f"deadletter?id={DEAD_LETTER}", f"job?id={job['id']}"}
        for target in linked:
            assert (await client.get(f"/{target}")).status == 200


async def test_texts_of_clients_are_shown_as_text(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        add(client, order(1, by=HOSTILE, subject=HOSTILE, note=HOSTILE, order=HOSTILE))
        page = Links(await (await client.get("/orders")).text())
        (found,) = (await (await client.get("/api/v1/orders")).json())["orders"]
    assert page.scripts == ["static/theme.js", "static/console.js"]
    assert page.text.count(HOSTILE) >= 3
    assert (found["by"], found["subject"]) == (HOSTILE, HOSTILE)


async def test_missing_right_is_shown(tmp_path: Path) -> None:
    async with running_console(tmp_path, orders_problem="READ is missing") as client:
        page = Links(await (await client.get("/orders")).text())
        body = await (await client.get("/api/v1/orders")).json()
    assert "Newer orders are not read: READ is missing" in page.text
    assert body["problem"] == "READ is missing"
