import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import click
import pytest

from streams.cli import submission as module
from streams.cli.submission import Submission
from streams.cluster.topic_reader import Received
from streams.new_requests import RequestBuilder
from streams.settings import KafkaSettings
from streams.topics import RESULTS

FIELDS = {
    "url": "",
    "timings": {},
    "attempts": 0,
    "error": {"error_type": "request.invalid", "user_message": "No."},
}


class FakeClient:
    """Client of a service that rejects every request at once."""

    published: int
    known: Sequence[str] = ()

    def __init__(self, _kafka: KafkaSettings) -> None:
        FakeClient.published = 0
        self._results: list[dict[str, Any]] = []
        self._is_read = False
        self.reader = self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    async def publish(self, bodies: Sequence[bytes]) -> None:
        FakeClient.published += len(bodies)
        request_ids = [json.loads(body)["id"] for body in bodies]
        if self._is_read:
            self._decide(each for each in request_ids if each not in self.known)

    async def rewind_to(self, moment: datetime, *_topics: object) -> None:
        assert moment < datetime.now(UTC)
        self._decide(self.known)

    def _decide(self, names: Any) -> None:
        self._results += [{"request_id": name, "status": "rejected", **FIELDS} for name in names]

    async def records(self) -> AsyncIterator[Received]:
        self._is_read = True
        while True:
            results, self._results = self._results, []
            for each in results:
                yield Received(RESULTS, None, each)
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _fake_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Client", FakeClient)
    monkeypatch.setattr(FakeClient, "known", ())


def submission(**given: Any) -> Submission:
    builder = RequestBuilder("run", {}, **given)
    return Submission(KafkaSettings(), builder, as_json=True)


LINES = 20_000
HELD_BYTES_MAX = 3 * 2**20
"""The requests of all lines together have 7 MB."""


@pytest.mark.parametrize("wait", [False, True], ids=["published", "awaited"])
async def test_memory_does_not_grow_with_the_file(
    wait: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "links.txt"
    file.write_text("".join(f"https://www.tiktok.com/@a/video/{n:019}\n" for n in range(LINES)))
    monkeypatch.setattr(click, "echo", lambda *_: None)
    run = submission()
    tracemalloc.start()
    try:
        if wait:
            await run.publish_and_wait(((), (str(file),)), 30, None)
        else:
            await run.publish_only(((), (str(file),)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert FakeClient.published == LINES
    assert run.results.counts.total() == (LINES if wait else 0)
    assert peak < HELD_BYTES_MAX


async def test_results_of_an_earlier_run_are_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeClient, "known", ("run-1",))
    await submission().publish_and_wait((("a", "b"), ()), 30, datetime(2020, 1, 1, tzinfo=UTC))
    found = [json.loads(line)["request_id"] for line in capsys.readouterr().out.splitlines()]
    assert sorted(found) == ["run-1", "run-2"]


async def test_missing_results_are_reported_at_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeClient, "known", ("run-1",))
    with pytest.raises(click.ClickException, match="no result within 0 s for run-1; see"):
        await submission().publish_and_wait((("a", "b"), ()), 0.05, None)


async def test_invalid_line_ends_a_waiting_run(tmp_path: Path) -> None:
    file = tmp_path / "links.txt"
    file.write_text("a\nb\n{\n")
    with pytest.raises(click.ClickException) as caught:
        await submission().publish_and_wait((("c",), (str(file),)), 30, None)
    first, second = caught.value.message.splitlines()
    assert first.startswith(f"{file}, line 3: $: not JSON")
    assert second.startswith("3 requests before it are published.")
    assert "--id run:" in second


async def test_results_before_an_invalid_line_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "read_blocks", slow_blocks)
    run = Submission(KafkaSettings(), RequestBuilder("run", {}), as_json=False)
    with pytest.raises(click.ClickException, match="line 2"):
        await run.publish_and_wait(((), ("-",)), 30, None)
    assert "run-1" in capsys.readouterr().out


async def slow_blocks(_name: str) -> AsyncIterator[bytes]:
    yield b"a\n"
    await asyncio.sleep(0.05)
    yield b"{\n"


async def test_invalid_first_line_publishes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "links.txt"
    file.write_text("{\n")
    with pytest.raises(click.ClickException, match=r"line 1: .*; nothing was published"):
        await submission().publish_only(((), (str(file),)))
    assert FakeClient.published == 0


async def test_closed_output_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(click, "echo", closed)
    with pytest.raises(BrokenPipeError):
        await submission().publish_and_wait((("a",), ()), 30, None)
