import asyncio
from collections.abc import AsyncIterator
from typing import Any

import click
import pytest

from streams.cli import waiting
from streams.cli.waiting import (
    ResultOutput,
    first_result,
    missing_results,
    wait_and_print,
    wait_applied,
)
from streams.cluster.topic_reader import Received
from streams.topics import RESULTS


class FakeClient:
    """Client that yields given results, then blocks forever."""

    def __init__(self, *results: dict[str, Any]) -> None:
        self._results = results

    async def records(self) -> AsyncIterator[Received]:
        for result in self._results:
            yield Received(RESULTS, None, result)
        await asyncio.Event().wait()


def rejected_result(request_id: str = "c1") -> dict[str, Any]:
    error = {"error_type": "request.invalid", "user_message": "There is no such stage."}
    return {
        "request_id": request_id,
        "status": "rejected",
        "url": "",
        "timings": {},
        "attempts": 0,
        "error": error,
    }


def client(*results: dict[str, Any]) -> Any:
    return FakeClient(*results)


async def test_first_result_of_several_requests_is_returned() -> None:
    assert await first_result(
        client(rejected_result("x"), rejected_result("b")), {"a", "b"}, 5
    ) == rejected_result("b")


async def test_first_result_is_none_after_the_timeout() -> None:
    assert await first_result(client(rejected_result("x")), {"a"}, 0.01) is None


async def test_missing_member_is_reported() -> None:
    listing = rejected_result("a") | {"members": 2}
    with pytest.raises(click.ClickException, match="for a/1; see"):
        await wait_and_print(client(listing, rejected_result("a/0")), {"a"}, 0.05, as_json=True)


async def test_all_results_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = await wait_and_print(client(rejected_result("a")), {"a"}, 5, as_json=True)
    assert found == [rejected_result("a")]
    assert '"request_id": "a"' in capsys.readouterr().out


async def test_missing_results_are_reported_after_the_received_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(click.ClickException, match="no result within 0 s for b; see"):
        await wait_and_print(client(rejected_result("a")), {"a", "b"}, 0.05, as_json=False)
    assert "There is no such stage." in capsys.readouterr().out


async def test_applied_command_is_confirmed() -> None:
    observations = iter([False, False, True])
    await wait_applied(client(), "c1", lambda: next(observations))


async def test_rejected_command_raises_with_the_reason() -> None:
    with pytest.raises(click.ClickException, match="There is no such stage"):
        await wait_applied(client(rejected_result("x"), rejected_result("c1")), "c1", lambda: False)


async def test_unconfirmed_command_raises_with_the_stages_to_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "CONFIRM_SECONDS", 0.01)
    with pytest.raises(click.ClickException, match="are the stages `commands`"):
        await wait_applied(client(), "c1", lambda: False)


def test_json_lines_are_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    output = ResultOutput(as_json=True)
    output.add(rejected_result("a"))
    assert '"request_id": "a"' in capsys.readouterr().out
    output.close()
    assert capsys.readouterr().out == ""


def test_large_table_shows_some_results_and_counts_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ROWS_MAX", 2)
    output = ResultOutput(as_json=False)
    for name in "abc":
        output.add(rejected_result(name))
    output.add(rejected_result("d") | {"status": "completed"})
    assert capsys.readouterr().out == ""
    output.close()
    shown = capsys.readouterr().out
    assert shown.count("There is no such stage.") == 2
    assert "the first 2 of 4: 3 rejected, 1 completed" in shown


def test_list_of_missing_results_is_truncated() -> None:
    error = missing_results(["a", "b"], 5_000, 3)
    assert "within 3 s for a, b and 4998 more; see `clipmill status a`" in error.message
    assert "more" not in missing_results(["a", "b"], 2, 3).message
