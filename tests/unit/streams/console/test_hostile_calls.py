"""Hostile calls are refused, or shown to be harmless."""

import logging
from pathlib import Path

import pytest

from streams.console import http_messages
from tests.unit.streams.console.consoles import TOKEN
from tests.unit.streams.console.hostile_calls import FORM, LOGIN_CALLS, OPEN_CALLS, OWN, Case
from tests.unit.streams.console.raw_calls import RawConsole, call, raw_console


async def check_refused(console: RawConsole, case: Case) -> None:
    sent, expected = case
    answer = await console.answer(sent)
    accepted = expected if isinstance(expected, tuple) else (expected,)
    assert answer.status in accepted, answer
    assert "Set-Cookie" not in answer.headers
    assert "<script>" not in answer.body
    assert "://" not in answer.headers.get("Location", "")
    assert console.producer.requests == []
    assert console.producer.commands == []
    assert (await console.answer(call("/static/console.css"))).status == 200


@pytest.mark.parametrize("name", OPEN_CALLS)
async def test_call_to_an_open_console_is_harmless(tmp_path: Path, name: str) -> None:
    async with raw_console(tmp_path) as console:
        await check_refused(console, OPEN_CALLS[name])


@pytest.mark.parametrize("name", LOGIN_CALLS)
async def test_call_without_login_is_refused(tmp_path: Path, name: str) -> None:
    async with raw_console(tmp_path, token=TOKEN) as console:
        await check_refused(console, LOGIN_CALLS[name])


@pytest.mark.parametrize("target", ["/submit", "/api/v1/requests"])
async def test_body_that_ends_early_publishes_nothing(
    tmp_path: Path, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent = call(target, "POST", b"text=https://a", Content_Type=FORM, Content_Length="500")
    async with raw_console(tmp_path, token=TOKEN) as console:
        sent = sent.replace(b"\r\n", f"\r\nAuthorization: Bearer {TOKEN}\r\n".encode(), 1)
        assert (await console.answer(sent, cut=True)).status in (0, 400, 415)
        assert console.producer.requests == []
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


@pytest.mark.parametrize("target", ["/submit", "/api/v1/requests", "/login"])
async def test_slow_body_is_given_up(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_messages, "BODY_SECONDS", 0.1)
    kind = "text/plain" if target.startswith("/api") else FORM
    sent = call(target, "POST", b"x", Content_Length="500", Content_Type=kind, Sec_Fetch_Site=OWN)
    async with raw_console(tmp_path) as console:
        answer = await console.answer(sent)
        assert answer.status == 408, answer
        assert console.producer.requests == []


async def test_method_that_is_not_allowed_names_those_that_are(tmp_path: Path) -> None:
    async with raw_console(tmp_path) as console:
        answer = await console.answer(call("/api/v1/requests", "PUT", Sec_Fetch_Site=OWN))
    assert answer.headers["Allow"] == "GET, HEAD, POST"


async def test_name_of_a_user_in_other_octets_is_readable(tmp_path: Path) -> None:
    sent = call("/cancel", "POST", b"id=done", X_User=b"ann\xff", Content_Type=FORM)
    sent = sent.replace(b"\r\n", b"\r\nSec-Fetch-Site: same-origin\r\n", 1)
    proxied = {"user_header": "X-User", "proxies": ["127.0.0.1"]}
    async with raw_console(tmp_path, **proxied) as console:
        assert (await console.answer(sent)).status == 303
        assert [each.by for each in console.producer.commands] == ["ann\N{REPLACEMENT CHARACTER}"]
