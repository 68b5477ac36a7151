"""The event stream, over HTTP."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError

from streams.console import feed
from streams.console.handlers.events import FEED
from streams.history.changes import RequestChange, RequestEvent
from streams.history.statements import FoldedRecord
from streams.history.store import HistoryError, HistoryStore
from tests.event_stream import EventStream, opened
from tests.unit.streams.console.consoles import CHANGES, HOSTILE, Console, running_console
from tests.unit.streams.console.rows import progress_report


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "TICK_SECONDS", 0.02)


def change(console: Console, *names: str, state: str = "accepted", offset: int = 100) -> None:
    """Write requests of a state."""
    store = console.services.store
    records = [
        FoldedRecord(
            0,
            offset + number,
            RequestChange(
                request_id=name,
                at=10.0 + offset,
                introduces=True,
                state=state,
                event=RequestEvent(at=10.0, step="s", transition=state),
            ),
        )
        for number, name in enumerate(names)
    ]
    store.apply("audit", records, {}, store.open_generation("cluster"))


async def collected(stream: EventStream, count: int) -> dict[str, str]:
    """Return the states of the next requests."""
    found: dict[str, str] = {}
    while len(found) < count:
        found |= (await stream.next("requests")).states
    return found


async def stream_states(stream: EventStream) -> dict[str, str]:
    """Return the states of the requests in the next event."""
    return (await stream.next("requests")).states


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (the parts have no event of it)
            await asyncio.sleep(0.01)


async def test_changed_requests_and_counts_are_sent(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client, opened(client) as stream:
        headers = stream.response.headers
        counts = await stream.next()
        change(client, "new", HOSTILE, offset=3)
        changed = await stream.next("requests")
        after = await stream.next("counts")
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert counts.data == {"states": {"completed": 1, "failed": 1, "parked": 1}}
    assert changed.states == {"new": "accepted", HOSTILE: "failed"}
    assert changed.data["more"] is False
    assert after.data["states"]["accepted"] == 1
    assert changed.id == after.id


async def test_client_resumes_behind_its_last_event(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        async with opened(client) as stream:
            change(client, "a")
            await stream.next("requests")
        change(client, "b", "c")
        async with opened(client, stream.last_id) as again:
            assert await collected(again, 2) == {"b": "accepted", "c": "accepted"}
            change(client, "d")
            while "d" not in (await stream_states(again)):
                pass  # the same changes again: the stream has each at least once


async def test_last_event_id_counts_before_the_parameter_of_the_page(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        generation, number = client.services.store.revision().generation, 3
        change(client, "new")
        async with opened(client, f"{generation}.{number}", after=f"{generation}.0") as stream:
            assert (await stream.next("requests")).states == {"new": "accepted"}
        async with opened(client, after=f"{generation}.0") as stream:
            assert len((await stream.next("requests")).states) == 4


async def test_many_changes_are_sent_in_events_of_a_hundred(tmp_path: Path) -> None:
    names = [f"r{number}" for number in range(250)]
    async with running_console(tmp_path) as client, opened(client) as stream:
        first = stream.last_id
        change(client, *names)
        events = [await stream.next("requests") for _ in range(3)]
        async with opened(client, first) as again:
            assert (await again.next()).name == "counts"
        generation = client.services.store.revision().generation
        async with opened(client, f"{generation}.0") as resumed:
            assert (await collected(resumed, 250)).keys() == set(names)
    assert [len(each.states) for each in events] == [100, 100, 50]
    assert [each.data["more"] for each in events] == [True, True, False]


@pytest.mark.parametrize("distance", ["another generation", "the future", "too far behind"])
async def test_client_that_cannot_resume_is_reset(
    tmp_path: Path, distance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "BACKLOG_MAX", 2)
    async with running_console(tmp_path, *CHANGES) as client:
        generation = client.services.store.revision().generation
        last_id = {
            "another generation": f"{generation - 1}.3",
            "the future": f"{generation}.4",
            "too far behind": f"{generation}.0",
        }[distance]
        async with opened(client, last_id) as stream:
            assert (await stream.next("reset")).id == f"{generation}.3"
            change(client, "new")
            assert (await stream.next("requests")).states == {"new": "accepted"}


async def test_emptied_history_resets_its_viewers(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client, opened(client) as stream:
        await stream.next("counts")
        client.services.store.clear("cluster")
        await stream.next("reset")
        change(client, "new")
        assert (await stream.next("requests")).states == {"new": "accepted"}


async def test_stream_of_a_request_has_its_changes_and_transitions_only(tmp_path: Path) -> None:
    async with (
        running_console(tmp_path, *CHANGES) as client,
        opened(client, request="new") as stream,
        opened(client, request="done") as done,
    ):
        assert (await done.next()).states == {"done": "completed"}
        change(client, "other")
        change(client, "new")
        event = await stream.next()
    assert event.states == {"new": "accepted"}
    (request,) = event.data["requests"]
    assert [each["transition"] for each in request["events"]] == ["accepted"]


async def test_progress_is_sent_to_the_viewers_of_its_request_only(tmp_path: Path) -> None:
    async with (
        running_console(tmp_path, *CHANGES) as client,
        opened(client) as every,
        opened(client, request="b/0") as stream,
        opened(client, request="done") as other,
    ):
        assert (await stream.next()).states == {"b/0": "parked"}
        client.services.progress.add(progress_report("b/0"))
        event = await stream.next()
        change(client, "new", "done")
        assert (await every.next("requests", "progress")).name == "requests"
        assert [(await other.next()).name for _ in range(2)] == ["requests", "requests"]
    assert event.name == "progress"
    assert event.id == stream.last_id
    assert event.data["text"] == "1.0 MB of 4.0 MB, 500.0 kB/s, 6.00 s left"
    assert event.data["progress"]["bytes"] == 1_000_000


async def test_viewer_that_joins_during_a_download_has_its_progress_at_once(tmp_path: Path) -> None:
    async with running_console(tmp_path, *CHANGES) as client:
        client.services.progress.add(progress_report("b/0"))
        async with opened(client, request="b/0") as stream:
            assert (await stream.next("progress")).data["progress"]["bytes"] == 1_000_000
            change(client, "b/0")
            assert (await stream.next()).states == {"b/0": "accepted"}  # an old report comes once


@pytest.mark.parametrize(
    ("parameters", "last_id", "field"),
    [
        ({"after": "x"}, "", "after"),
        ({"after": "1.-2"}, "", "after"),
        ({"after": "1.2.3"}, "", "after"),
        ({"after": f"1.{'9' * 40}"}, "", "after"),
        ({}, "1", "Last-Event-ID"),
        ({"state": "failed"}, "", "state"),
    ],
)
async def test_unusable_parameter_is_named(
    tmp_path: Path, parameters: dict[str, str], last_id: str, field: str
) -> None:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with running_console(tmp_path) as client:
        response = await client.get("/api/v1/events", params=parameters, headers=headers)
        assert (response.status, (await response.json())["error"]["field"]) == (400, field)


async def test_stream_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "VIEWERS_MAX", 1)
    async with running_console(tmp_path) as client, opened(client):
        response = await client.get("/api/v1/events")
        assert response.status == 503
        assert "1 streams are open" in await response.text()


async def test_slow_client_is_disconnected_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "QUEUE_EVENTS", 8)
    long = "x" * 4_000
    async with running_console(tmp_path) as client:
        async with opened(client) as fast, opened(client) as slow:
            await slow.next("counts")
            async with asyncio.timeout(20):
                for number in range(100_000):
                    change(client, *(f"{each}-{number}-{long}" for each in range(100)))
                    await fast.next("requests")
                    if len(viewers(client)) == 1:
                        break
            with pytest.raises(ClientPayloadError):
                await collected(slow, 10_000_000)
        async with opened(client, slow.last_id) as again:
            assert await again.next("requests", "reset")


def viewers(client: Console) -> set[Any]:
    """Return the open streams of a console."""
    found: set[Any] = client.app[FEED]._viewers
    return found


async def test_closed_tab_leaves_no_viewer_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_TICKS", 1)
    async with running_console(tmp_path) as client:
        async with opened(client) as stream:
            assert len(viewers(client)) == 1
            stream.response.close()
        await until(lambda: not viewers(client))
    assert caplog.records == []


async def test_idle_stream_has_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_TICKS", 2)
    async with running_console(tmp_path) as client, opened(client, request="x") as stream:
        lines = [await stream.response.content.readline() for _ in range(5)]
    assert lines[3] == b":\n"


def fail(*_: object) -> None:
    raise HistoryError("disk I/O error")


@pytest.mark.parametrize("query", ["revision", "changes", "counts"])
async def test_history_that_cannot_be_read_delays_the_changes(
    tmp_path: Path, query: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_console(tmp_path) as client, opened(client) as stream:
        await stream.next("counts")
        with monkeypatch.context() as patch:
            patch.setattr(HistoryStore, query, fail)
            change(client, "new")
            await until(lambda: "the event streams wait" in caplog.text)
        assert (await stream.next("requests")).states == {"new": "accepted"}
        assert (await stream.next("counts")).data == {"states": {"accepted": 1}}


async def test_stream_of_a_history_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_console(tmp_path) as client:
        monkeypatch.setattr(HistoryStore, "revision", fail)
        assert (await client.get("/api/v1/events")).status == 503


async def test_stop_ends_the_streams(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client, opened(client) as stream:
        await stream.next("counts")
        await client.app.shutdown()
        with pytest.raises(EOFError):
            await stream.next()
        assert (await client.get("/api/v1/events")).status == 503
