"""Access rules, and how the server applies them."""

from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import ValidationError

from streams.console.access import ANONYMOUS, SESSION_SECONDS, AccessRules, HttpCall
from streams.console.errors import CallError
from streams.settings import ConsoleSettings
from tests.unit.streams.console.consoles import CHANGES, TOKEN, running_console

NOW = 1_000_000.0

JSON = {"Content-Type": "application/json"}


def call(
    method: str = "GET",
    *,
    peer: str = "127.0.0.1",
    session: str | None = None,
    headers: dict[str, str] | None = None,
) -> HttpCall:
    host = {"Host": "127.0.0.1:8090"}
    return HttpCall(
        method=method, headers=CIMultiDict(host | (headers or {})), peer=peer, session=session
    )


def rules(**settings: Any) -> AccessRules:
    return AccessRules.of(ConsoleSettings(**settings))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "[::1]:8090", "box.lan", "Box.LAN:80"]
)
def test_console_without_token_answers_to_loopback_and_configured_names(host: str) -> None:
    user = rules(hosts=["box.lan"]).authenticate(call(headers={"Host": host}), NOW)
    assert user == ANONYMOUS


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "10.0.0.1", "", "[::1"],
)
def test_console_without_token_rejects_other_names(host: str) -> None:
    with pytest.raises(CallError, match=r"loopback names only.*console\.hosts") as denied:
        rules(hosts=["box.lan"]).authenticate(call(headers={"Host": host}), NOW)
    assert (denied.value.status, denied.value.field) == (403, "Host")


def test_session_lasts_until_it_expires_or_the_token_changes() -> None:
    session = rules(token=TOKEN).new_session(ANONYMOUS, NOW)
    assert rules(token=TOKEN).authenticate(call(session=session), NOW) == ANONYMOUS
    for token, now in ((TOKEN, NOW + SESSION_SECONDS), (TOKEN[::-1], NOW)):
        with pytest.raises(CallError) as denied:
            rules(token=token).authenticate(call(session=session), now)
        assert denied.value.status == 401


@pytest.mark.parametrize(
    "session", [None, "", ".", "x", "9999999999", "9999999999.", "9999999999.ab", "9e9.\u00e9"]
)
def test_forged_session_is_rejected(session: str | None) -> None:
    with pytest.raises(CallError) as denied:
        rules(token=TOKEN).authenticate(call(session=session), NOW)
    assert denied.value.status == 401


@pytest.mark.parametrize(
    "value", [TOKEN, "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \u00e9"]
)
def test_other_authorization_is_rejected(value: str) -> None:
    with pytest.raises(CallError) as denied:
        rules(token=TOKEN).authenticate(call(headers={"Authorization": value}), NOW)
    assert denied.value.status == 401


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}", f"bearer  {TOKEN} "])
def test_bearer_token_authenticates(value: str) -> None:
    assert rules(token=TOKEN).authenticate(call(headers={"Authorization": value}), NOW) == ANONYMOUS


NAMED = {"tokens": {"ann.b@example": "a" * 16, "eve": "e" * 16}, "token": TOKEN}


@pytest.mark.parametrize(
    ("token", "user"), [("a" * 16, "ann.b@example"), ("e" * 16, "eve"), (TOKEN, ANONYMOUS)]
)
def test_token_names_its_user_as_a_header_and_in_a_session(token: str, user: str) -> None:
    access = rules(**NAMED)
    bearer = call(headers={"Authorization": f"Bearer {token}"})
    assert access.authenticate(bearer, NOW) == user
    session = access.new_session(user, NOW)
    assert access.authenticate(call(session=session), NOW) == user
    for other in {"ann.b@example", "eve", ANONYMOUS} - {user}:
        forged = session.removesuffix(user) + other
        with pytest.raises(CallError):
            access.authenticate(call(session=forged), NOW)


def test_session_ends_when_the_token_of_its_user_is_removed() -> None:
    session = rules(**NAMED).new_session("eve", NOW)
    with pytest.raises(CallError):
        rules(token=TOKEN).authenticate(call(session=session), NOW)


@pytest.mark.parametrize(
    "settings",
    [
        {"tokens": {"ann": "short"}},
        {"tokens": {"a b": "a" * 16}},
        {"tokens": {"ann": "a" * 16, "eve": "a" * 16}},
        {"tokens": {"ann": TOKEN}, "token": TOKEN},
        {"tokens": {"console": "a" * 16}, "token": TOKEN},
    ],
)
def test_unusable_tokens_are_rejected(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ConsoleSettings(**settings)


PROXIED = {"user_header": "X-User", "proxies": ["10.1.0.0/16", "::1"]}


@pytest.mark.parametrize("peer", ["10.1.2.3", "::1"])
def test_user_is_taken_from_a_proxy(peer: str) -> None:
    found = rules(**PROXIED).authenticate(call(peer=peer, headers={"x-user": " ann "}), NOW)
    assert found == "ann"


@pytest.mark.parametrize(
    ("peer", "headers"),
    [("10.2.0.1", {"X-User": "ann"}), ("10.1.2.3", {}), ("10.1.2.3", {"X-User": "  "})],
)
def test_user_of_another_peer_or_without_name_is_rejected(
    peer: str, headers: dict[str, str]
) -> None:
    with pytest.raises(CallError) as denied:
        rules(**PROXIED).authenticate(call(peer=peer, headers=headers), NOW)
    assert denied.value.status == 401


CHANGED_BY = [
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "none"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8090"}, False),
    ({"Origin": "http://127.0.0.1:8090"}, True),
    ({"Origin": "http://127.0.0.1:8091"}, False),
    ({"Origin": "http://evil.example"}, False),
    ({"Origin": "null"}, False),
    (JSON, True),
    ({"Content-Type": "application/json; charset=utf-8"}, True),
    ({"Content-Type": "text/plain"}, False),
    ({"Content-Type": "text/plain; application/json"}, False),
    ({"Content-Type": "application/x-www-form-urlencoded"}, False),
    ({}, False),
]


@pytest.mark.parametrize(("headers", "permitted"), CHANGED_BY)
def test_change_has_to_come_from_the_console_itself(
    headers: dict[str, str], *, permitted: bool
) -> None:
    change = call("POST", headers=headers)
    if permitted:
        rules().check_change(change)
        return
    with pytest.raises(CallError, match="from the console's own pages") as denied:
        rules().check_change(change)
    assert denied.value.status == 403


def test_bearer_token_changes_from_anywhere() -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Sec-Fetch-Site": "cross-site"}
    rules(token=TOKEN).check_change(call("POST", headers=headers))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_read_only_console_rejects_every_change(method: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with pytest.raises(CallError, match="read-only"):
        rules(token=TOKEN, read_only=True).check_change(call(method, headers=headers))


async def test_page_leads_to_the_login_and_the_token_opens_it(tmp_path: Path) -> None:
    own = {"Sec-Fetch-Site": "same-origin"}
    async with running_console(tmp_path, *CHANGES, token=TOKEN) as client:
        rejected = await client.get("/request?id=done", allow_redirects=False)
        assert (rejected.status, rejected.headers["Location"]) == (303, "login")
        assert (await client.get("/static/console.css")).status == 200
        wrong = await client.post("/login", data={"token": "wrong"}, headers=own)
        assert wrong.status == 401
        response = await client.post("/login", data={"token": TOKEN}, headers=own)
        assert "done" in await response.text()
        cookie = response.history[0].headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        await client.post("/logout", headers=own)
        assert (await client.get("/", allow_redirects=False)).status == 303


async def test_api_asks_for_the_token(tmp_path: Path) -> None:
    async with running_console(tmp_path, token=TOKEN) as client:
        response = await client.get("/api/v1/counts")
        error = (await response.json())["error"]
        assert (response.status, error["field"]) == (401, "Authorization")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/api/v1/counts", headers=bearer)).status == 200


async def test_change_of_a_foreign_page_publishes_nothing(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        for path in ("/cancel", "/retry", "/submit", "/api/v1/requests"):
            response = await client.post(
                path,
                data={"id": "b/0", "text": "https://www.tiktok.com/@a/video/7"},
                headers={"Origin": "https://evil.example"},
            )
            assert response.status == 403
        assert client.producer.requests == []
        assert client.producer.commands == []
