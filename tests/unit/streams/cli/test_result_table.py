import asyncio
import io
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from streams.cli.result_table import (
    PLAIN_WIDTH,
    SHORT,
    _Board,
    describe,
    follow,
    open_console,
    plain,
    results_table,
    shorten,
)
from streams.cli.status import _table

FILE = {"uri": "file:///d/tiktok/1.mp4", "bytes": 1_234_567, "reused": False}
LISTING = {"kind": "profile", "entries": [{}, {}], "complete": False}
ERROR = {"error_type": "content.private", "user_message": "The video is private."}


def completed(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "request_id": "r1",
        "url": "https://www.tiktok.com/@a/video/1",
        "status": "completed",
        "timings": {"validation": 0.25, "download": 1.0},
        "attempts": 1,
        "files": list(files),
        "video": {"title": "Cat", "formats": [1, 2]},
        "recovery": [],
    } | more


def failed(**more: Any) -> dict[str, Any]:
    return {name: value for name, value in completed().items() if name != "files"} | {
        "status": "failed",
        "error": ERROR,
        **more,
    }


def printed(table: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("result", "text"),
    [
        pytest.param(completed(FILE), "1.mp4 (1.2 MB)", id="a file"),
        pytest.param(
            completed(FILE | {"reused": True}), "1.mp4 (1.2 MB, already there)", id="reused"
        ),
        pytest.param(
            completed(FILE, recovery=[{"code": "network.dns"}, {"code": "rate_limit.api"}]),
            "1.mp4 (1.2 MB, after network.dns, rate_limit.api)",
            id="recovered",
        ),
        pytest.param(
            completed(FILE, FILE | {"uri": "s3://b/2.jpg", "bytes": 0}),
            "1.mp4 (1.2 MB), 2.jpg (0.0 MB)",
            id="two files",
        ),
        pytest.param(completed(FILE, FILE, FILE, FILE), "4 files (4.9 MB)", id="a photo post"),
        pytest.param(completed(), "“Cat”, 2 formats", id="info only"),
        pytest.param(
            completed(video=None, listing=LISTING, members=0),
            "profile of 2 posts and more",
            id="a listing",
        ),
        pytest.param(
            completed(video=None, listing=LISTING | {"complete": True}, members=2),
            "profile of 2 posts; 2 requests of their own",
            id="a listing that is downloaded",
        ),
        pytest.param(failed(), "content.private: The video is private.", id="failed"),
    ],
)
def test_a_result_in_one_line(result: dict[str, Any], text: str) -> None:
    assert describe(result) == text


@pytest.mark.parametrize(
    ("url", "short"),
    [
        ("https://www.tiktok.com/@a", "tiktok.com/@a"),
        ("http://x.org/", "http://x.org/"),
        ("", ""),
        ("x" * SHORT, "x" * SHORT),
        ("x" * (SHORT + 1), "x" * (SHORT - 1) + "…"),
    ],
)
def test_shorten(url: str, short: str) -> None:
    assert shorten(url) == short


def test_a_table_has_all_results() -> None:
    text = printed(results_table([completed(FILE), failed(request_id="r2")]))
    for part in ("r1", "tiktok.com/@a/video/1", "completed", "1.25", "r2", "content.private"):
        assert part in text


HOSTILE = ["[/]", "[/red]", "[bold]x", "[link=https://evil.example]x[/link]", "\x1b[2J", "a\\"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_shown_as_they_are(text: str) -> None:
    shown = text.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    results = [
        failed(error=ERROR | {"user_message": text}, url=text, request_id=text),
        completed(video={"title": text, "formats": []}),
    ]
    output = printed(results_table(results))
    assert output.count(shown) >= 3
    assert "\x1b" not in output


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_in_a_history_are_shown_as_they_are(text: str) -> None:
    record = {
        "at": "2030-01-01T00:00:00.000000Z",
        "request_id": text,
        "step": "validation",
        "transition": "failed",
        "detail": {"reason": text},
        "outcome": None,
    }
    shown = text.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    output = printed(_table([record]))
    assert output.count(shown) == 2
    assert "\x1b" not in output


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain ä 日本", "plain ä 日本"), ("a\nb\tc\x00", "a�b�c�"), ("[a]", "\\[a]")],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown


class FakeBars:
    def __init__(self) -> None:
        self.tasks: dict[int, dict[str, Any]] = {}
        self.advanced = 0

    def add_task(self, name: str, total: int | None = None) -> int:
        self.tasks[len(self.tasks)] = {"name": name, "total": total}
        return len(self.tasks) - 1

    def update(self, task: int, **fields: Any) -> None:
        self.tasks[task] |= fields

    def remove_task(self, task: int) -> None:
        self.tasks[task]["removed"] = True

    def advance(self, task: int) -> None:
        assert task == 0
        self.advanced += 1


def test_bars_follow_downloads() -> None:
    bars = FakeBars()
    board = _Board(bars, 2)  # type: ignore[arg-type]
    for received in (1, 2):
        board.moved(
            {"request_id": "r1", "video_key": "[/]", "bytes": received, "total_bytes": None}
        )
    assert bars.tasks[1] == {"name": "\\[/]", "total": None, "completed": 2}
    board.finished(completed())
    board.finished(completed(request_id="never moved"))
    assert bars.tasks[1]["removed"]
    assert bars.advanced == 2


# Following requests


class FakeClient:
    """Hands out records as they would come."""

    def __init__(self, *records: tuple[str, dict[str, Any]], then_wait: bool = False) -> None:
        self._records = records
        self._then_wait = then_wait

    async def records(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        for record in self._records:
            yield record
        if self._then_wait:
            await asyncio.Event().wait()


def terminal() -> Console:
    return Console(file=StringIO(), force_terminal=True, width=100, color_system=None)


def progress_of(request_id: str, done: int) -> tuple[str, dict[str, Any]]:
    message = {"request_id": request_id, "video_key": "tiktok:1", "bytes": done}
    return "progress", {**message, "total_bytes": 2_000_000}


async def test_results_come_in_their_order_and_bars_show_bytes_and_requests() -> None:
    console = terminal()
    client: Any = FakeClient(
        progress_of("a", 1_000_000),
        ("results", {"request_id": "b"}),
        progress_of("a", 1_500_000),
        progress_of("somebody else's", 5),
        ("results", {"request_id": "a"}),
    )
    found = await follow(client, {"a", "b"}, 10, console)
    assert [each["request_id"] for each in found] == ["b", "a"]
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "0 of 2" in shown
    assert "2 of 2" in shown
    assert "bytes" in shown


async def test_members_are_waited_for_too_whenever_they_come() -> None:
    console = terminal()
    client: Any = FakeClient(
        ("results", {"request_id": "a/1"}),
        progress_of("a/0", 1_000_000),
        ("results", {"request_id": "b/0"}),
        ("results", {"request_id": "a", "members": 2}),
        ("results", {"request_id": "a/1"}),
        ("results", {"request_id": "a/0"}),
    )
    found = await follow(client, {"a"}, 10, console)
    assert [each["request_id"] for each in found] == ["a/1", "a", "a/0"]
    assert isinstance(console.file, StringIO)
    assert "3 of 3" in console.file.getvalue()


async def test_what_came_in_time_is_not_lost() -> None:
    client: Any = FakeClient(("results", {"request_id": "a"}), then_wait=True)
    found = await follow(client, {"a", "b"}, 0.05, terminal())
    assert [each["request_id"] for each in found] == ["a"]


def test_without_a_terminal_lines_are_wide_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert open_console().width == PLAIN_WIDTH
