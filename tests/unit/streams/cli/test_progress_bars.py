import asyncio
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any

import click
import pytest
from rich.console import Console

from streams.cli.progress_bars import ProgressBars, follow
from streams.cluster.topic_reader import Received
from streams.topics import PROGRESS, RESULTS


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
    progress_bars = ProgressBars(bars, 2)  # type: ignore[arg-type]
    for received in (1, 2):
        progress_bars.update(
            {"request_id": "r1", "video_key": "[/]", "bytes": received, "total_bytes": None}
        )
    assert bars.tasks[1] == {"name": "\\[/]", "total": None, "completed": 2}
    progress_bars.complete({"request_id": "r1"})
    progress_bars.complete({"request_id": "never moved"})
    assert bars.tasks[1]["removed"]
    assert bars.advanced == 2


class FakeClient:
    """Client that yields given records."""

    def __init__(self, *records: Received, then_wait: bool = False) -> None:
        self._records = records
        self._then_wait = then_wait

    async def records(self) -> AsyncIterator[Received]:
        for record in self._records:
            yield record
        if self._then_wait:
            await asyncio.Event().wait()


def terminal() -> Console:
    return Console(file=StringIO(), force_terminal=True, width=100, color_system=None)


def progress_of(request_id: str, done: int) -> Received:
    message = {"request_id": request_id, "video_key": "tiktok:1", "bytes": done}
    return Received(PROGRESS, None, {**message, "total_bytes": 2_000_000})


def result(fields: dict[str, Any]) -> Received:
    return Received(RESULTS, None, fields)


async def test_results_are_in_arrival_order_and_bars_show_bytes_and_requests() -> None:
    console = terminal()
    client: Any = FakeClient(
        progress_of("a", 1_000_000),
        result({"request_id": "b"}),
        progress_of("a", 1_500_000),
        progress_of("somebody else's", 5),
        result({"request_id": "a"}),
    )
    found = await follow(client, {"a", "b"}, 10, console)
    assert [each["request_id"] for each in found] == ["b", "a"]
    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "0 of 2" in shown
    assert "2 of 2" in shown
    assert "bytes" in shown


async def test_members_are_awaited_in_any_order() -> None:
    console = terminal()
    client: Any = FakeClient(
        result({"request_id": "a/1"}),
        progress_of("a/0", 1_000_000),
        result({"request_id": "b/0"}),
        result({"request_id": "a", "members": 2}),
        result({"request_id": "a/1"}),
        result({"request_id": "a/0"}),
    )
    found = await follow(client, {"a"}, 10, console)
    assert [each["request_id"] for each in found] == ["a/1", "a", "a/0"]
    assert isinstance(console.file, StringIO)
    assert "3 of 3" in console.file.getvalue()


async def test_results_before_the_timeout_are_returned() -> None:
    client: Any = FakeClient(result({"request_id": "a"}), then_wait=True)
    found = await follow(client, {"a", "b"}, 0.05, terminal())
    assert [each["request_id"] for each in found] == ["a"]


def test_echoed_lines_are_not_written_to_the_stream_of_the_bars(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = terminal()
    with ProgressBars.display(console, 1):
        click.echo("a line")
    assert capsys.readouterr().out == "a line\n"
    assert isinstance(console.file, StringIO)
    assert "a line" not in console.file.getvalue()
