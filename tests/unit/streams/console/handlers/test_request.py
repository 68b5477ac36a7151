"""One request: its page, over HTTP, and the reasons of its wait."""

from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from schemas.codec import encode
from schemas.commands import OptionChanges, Retry
from schemas.error_catalog import MESSAGES
from schemas.signals import BREAKER, INTAKE, BreakerState, IntakeSignal
from streams.cluster.shared_state import SharedState
from streams.console.handlers.request import waiting_reasons
from streams.history.changes import RejectedCommand, RequestChange, RequestEvent
from streams.settings import ConsoleSettings
from tests.unit.streams.console.consoles import CHANGES, HOSTILE, running_console
from tests.unit.streams.console.rows import progress_report, row_with
from tests.unit.streams.console.test_pages import OWN, URL, Links

TRACE_ID = "8df0d17064d2d33c625f610d07a604b4"

FAILED = replace(
    CHANGES[0],
    request_id="failed",
    state="failed",
    error="network.timeout",
    message="The platform did not answer in time: after 30 s.",
    trace_id=TRACE_ID,
)
RETRYING = replace(
    CHANGES[0],
    request_id="retrying",
    state="retrying",
    is_final=False,
    error="network.timeout",
    due=10.0,
    event=RequestEvent(
        at=4.0,
        step="recovery",
        transition="retrying",
        detail={
            "code": "network.timeout",
            "step": "extraction",
            "due": "1970-01-01T00:00:10+00:00",
            "endpoint": "tiktok:extract:direct",
            "quality": "best -> 720p",
        },
    ),
)


async def page_of(directory: Path, change: RequestChange, **console: Any) -> str:
    async with running_console(directory, change, **console) as client:
        response = await client.get("/request", params={"id": change.request_id})
        assert response.status == 200
        return await response.text()


@pytest.mark.parametrize(
    ("change", "shown"), [(replace(RETRYING, state="selected"), True), (CHANGES[0], False)]
)
async def test_progress_of_a_download_is_shown_until_its_request_is_decided(
    tmp_path: Path, change: RequestChange, shown: bool
) -> None:
    name = change.request_id
    async with running_console(tmp_path, change) as client:
        client.services.progress.add(progress_report(name))
        page = await (await client.get("/request", params={"id": name})).text()
        body = await (await client.get(f"/api/v1/requests/{name}")).json()
    assert ('value="1000000" max="4000000"' in page) is shown
    assert ("1.0 MB of 4.0 MB, 500.0 kB/s, 6.00 s left" in page) is shown
    assert (body["progress"] or {}).get("bytes") == (1_000_000 if shown else None)


async def test_error_is_shown_in_words_with_its_recovery(tmp_path: Path) -> None:
    page = await page_of(tmp_path, FAILED)
    text = Links(page).text
    assert "The platform did not answer in time: after 30 s." in text
    assert "Submit it again later." in text
    assert "codes#network.timeout" in Links(page).targets
    assert "clipmill retry failed --quality 480p" in text
    assert all(each in page for each in ("Retry as it is", "Retry at 480p"))


async def test_button_of_a_recovery_retries_with_its_options(tmp_path: Path) -> None:
    form = {"id": "failed", "nonce": "1", "quality": "480p"}
    async with running_console(tmp_path, FAILED) as client:
        page = await (await client.get("/request?id=failed")).text()
        assert '<input type="hidden" name="quality" value="480p">' in page
        response = await client.post("/retry", data=form, headers=OWN, allow_redirects=False)
        assert response.status == 303
        (command,) = client.producer.commands
    assert isinstance(command, Retry)
    assert (command.request_id, command.options) == ("failed", OptionChanges(quality="480p"))


async def test_rejected_request_is_submitted_again_instead_of_retried(tmp_path: Path) -> None:
    rejected = replace(FAILED, state="rejected", error="request.invalid")
    async with running_console(tmp_path, rejected) as client:
        page = Links(await (await client.get("/request?id=failed")).text())
        form = await client.get("/retry?id=failed")
        assert form.url.path == "/submit"
        assert URL in await form.text()
    assert not any(each.startswith("retry?") for each in page.targets)
    assert any(each.startswith("submit?url=") for each in page.targets)


async def test_failure_has_technical_details(tmp_path: Path) -> None:
    details = {"reason": "no answer\nin 30 s", HOSTILE: HOSTILE}
    failed = replace(FAILED, request_id="done", details=details, step="extraction")
    attempt = replace(RETRYING, request_id="done", at=1.5)
    async with running_console(tmp_path, CHANGES[1], attempt, failed) as client:
        body = await (await client.get("/api/v1/requests/done")).json()
        text = await (await client.get("/request?id=done")).text()
        other = await (await client.get("/request?id=b/0")).text()
        undecided = await (await client.get("/api/v1/requests/b%2F0")).json()
    shown = Links(text.split("<summary>Technical details</summary>")[1].split("</details>")[0]).text
    for expected in ("network.timeout", "extraction", "tiktok:extract:direct", HOSTILE, "in 30 s"):
        assert expected in shown
    assert Links(text).scripts == ["static/theme.js", "static/console.js"]
    assert body["technical_details"] == details
    assert "Technical details" not in other
    assert undecided["technical_details"] == {}


RETRIES = (
    replace(CHANGES[0], request_id="done/replay-1", retry_of="done", received_at=2.0),
    replace(FAILED, request_id=HOSTILE, retry_of="done", received_at=3.0),
    replace(FAILED, request_id="orphan", retry_of="pruned", received_at=4.0),
)


async def test_request_and_its_retries_are_linked(tmp_path: Path) -> None:
    async with running_console(tmp_path, CHANGES[0], *RETRIES) as client:
        origin = Links(await (await client.get("/request?id=done")).text())
        retry = Links(await (await client.get("/request?id=done/replay-1")).text())
        orphan = Links(await (await client.get("/request?id=orphan")).text())
        body = await (await client.get("/api/v1/requests/done")).json()
        listed = await (await client.get("/api/v1/requests?retry_of=done")).json()
    assert "request?id=done%2Freplay-1" in origin.targets
    assert HOSTILE in origin.text
    assert "request?id=done" in retry.targets
    assert "Retry of" not in origin.text
    assert "Retried as" not in retry.text
    assert "pruned" in orphan.text
    assert "request?id=pruned" not in orphan.targets
    assert origin.scripts == ["static/theme.js", "static/console.js"]
    assert body["retries"] == [
        {"id": "done/replay-1", "state": "completed"},
        {"id": HOSTILE, "state": "failed"},
    ]
    assert [each["id"] for each in listed["requests"]] == [HOSTILE, "done/replay-1"]


def rejected_command(name: str | None, request_id: str | None) -> RequestChange:
    return replace(
        CHANGES[2],
        request_id="command",
        url=None,
        state="rejected",
        message=f"The request is invalid: request_id: {request_id} is in progress.",
        command=RejectedCommand(name=name, request_id=request_id),
    )


@pytest.mark.parametrize(
    ("name", "request_id", "text", "is_linked"),
    [
        ("retry", "done", "rejected command: retry done", True),
        ("cancel", HOSTILE, f"rejected command: cancel {HOSTILE}", False),
        ("refresh", None, "rejected command: refresh", False),
        (None, None, "rejected command:", False),
    ],
)
async def test_rejected_command_is_shown_as_one(
    tmp_path: Path, name: str | None, request_id: str | None, text: str, *, is_linked: bool
) -> None:
    command = rejected_command(name, request_id)
    async with running_console(tmp_path, CHANGES[0], command) as client:
        listed = Links(await (await client.get("/")).text())
        page = Links(await (await client.get("/request?id=command")).text())
        body = await (await client.get("/api/v1/requests/command")).json()
    assert text in listed.text
    assert "Rejected command" in page.text
    assert ("request?id=done" in page.targets) is is_linked
    assert not [each for each in page.targets if each.startswith(("retry?", "submit?"))]
    assert page.scripts == ["static/theme.js", "static/console.js"]
    assert body["command"] == {"name": name, "request_id": request_id}


async def test_read_only_console_offers_no_recovery(tmp_path: Path) -> None:
    page = await page_of(tmp_path, FAILED, read_only=True)
    assert 'method="post"' not in page
    assert "clipmill retry failed" in page


async def test_wait_shows_the_next_attempt_and_the_failed_one(tmp_path: Path) -> None:
    text = Links(await page_of(tmp_path, RETRYING)).text
    assert "Next attempt at 1970-01-01 00:00:10 UTC" in text
    assert "network.timeout by tiktok:extract:direct" in text
    assert "quality: best -> 720p" in text
    assert "network.timeout (1)" in text


@pytest.mark.parametrize(
    ("template", "link"),
    [
        (None, None),
        ("https://jaeger.example/trace/{trace_id}", f"https://jaeger.example/trace/{TRACE_ID}"),
        ("http://x/?a={b}&id={trace_id}", f"http://x/?a={{b}}&id={TRACE_ID}"),
    ],
)
async def test_trace_is_linked_by_the_template(
    tmp_path: Path, template: str | None, link: str | None
) -> None:
    page = await page_of(tmp_path, FAILED, trace_url=template)
    assert TRACE_ID in page
    foreign = [unescape(each) for each in Links(page).targets if "://" in each]
    assert foreign == ([] if link is None else [link])


@pytest.mark.parametrize("template", ["javascript:{trace_id}", "https://jaeger.example/trace/"])
def test_trace_template_that_leads_nowhere_is_rejected(template: str) -> None:
    with pytest.raises(ValidationError, match="trace_url"):
        ConsoleSettings(trace_url=template)


async def test_every_error_code_is_explained(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        page = await (await client.get("/codes")).text()
    assert all(f'id="{code}"' in page for code in MESSAGES)
    assert "{request}" not in page


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OUTSIDE = "The cause of network.timeout is outside of the request: the wait uses up no attempt."
ENDPOINT = "tiktok:extract:direct"
PARKED = RequestEvent(
    at=1.0,
    step="recovery",
    transition="parked",
    detail={"code": "network.timeout", "endpoint": ENDPOINT},
)


def shared_state() -> SharedState:
    state = SharedState()
    breaker = BreakerState(
        platform="tiktok", operation="extract", egress="direct", state="half_open", since=NOW
    )
    state.put(f"{BREAKER}{ENDPOINT}", encode(breaker))
    paused = IntakeSignal(paused=True, reason="dead letters", by="download", at=NOW)
    state.put(f"{INTAKE}download", encode(paused))
    return state


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({"is_final": True}, []),
        (
            {"state": "parked", "step": "extraction", "due": 9.0},
            [
                OUTSIDE,
                f"The circuit breaker {ENDPOINT} is half open since 2026-01-02 03:04:05 UTC.",
            ],
        ),
        (
            {"state": "selected", "step": "selection"},
            [
                "It is in the queue of the stage download, or processed there.",
                "The stage download is paused: dead letters",
            ],
        ),
    ],
)
def test_wait_has_its_reasons(fields: dict[str, Any], reasons: list[str]) -> None:
    row = row_with(**{"is_final": False, **fields})
    assert waiting_reasons(row, [PARKED], shared_state()) == reasons
