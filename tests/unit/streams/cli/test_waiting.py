import asyncio
from collections.abc import AsyncIterator
from typing import Any

import click
import pytest

from streams.cli import waiting
from streams.cli.waiting import ResultOutput, confirmed, first_of, no_result, results_of
from streams.cluster.topic_reader import Received
from streams.topics import RESULTS


class FakeClient:
    """Gives these records, and then nothing for ever."""

    def __init__(self, *results: dict[str, Any]) -> None:
        self._results = results

    async def records(self) -> AsyncIterator[Received]:
        for result in self._results:
            yield Received(RESULTS, None, result)
        await asyncio.Event().wait()


def refused(request_id: str = "c1") -> dict[str, Any]:
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


async def test_the_first_of_several_is_enough() -> None:
    assert await first_of(client(refused("x"), refused("b")), {"a", "b"}, 5) == refused("b")


async def test_nothing_in_time_is_none() -> None:
    assert await first_of(client(refused("x")), {"a"}, 0.01) is None


async def test_a_member_that_is_missing_is_named() -> None:
    listing = refused("a") | {"members": 2}
    with pytest.raises(click.ClickException, match="for a/1; look"):
        await results_of(client(listing, refused("a/0")), {"a"}, 0.05, as_json=True)


async def test_all_results_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = await results_of(client(refused("a")), {"a"}, 5, as_json=True)
    assert found == [refused("a")]
    assert '"request_id": "a"' in capsys.readouterr().out


async def test_what_is_missing_is_named_after_what_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(click.ClickException, match="no result within 0 s for b; look with"):
        await results_of(client(refused("a")), {"a", "b"}, 0.05, as_json=False)
    assert "There is no such stage." in capsys.readouterr().out


async def test_an_order_that_is_followed_is_confirmed() -> None:
    answers = iter([False, False, True])
    await confirmed(client(), "c1", lambda: next(answers))


async def test_an_order_that_is_refused_says_why() -> None:
    with pytest.raises(click.ClickException, match="There is no such stage"):
        await confirmed(client(refused("x"), refused("c1")), "c1", lambda: False)


async def test_an_order_of_which_nothing_is_seen_names_the_stages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "CONFIRM_SECONDS", 0.01)
    with pytest.raises(click.ClickException, match="are the stages `commands`"):
        await confirmed(client(), "c1", lambda: False)


def test_lines_of_json_come_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    output = ResultOutput(as_json=True)
    output.add(refused("a"))
    assert '"request_id": "a"' in capsys.readouterr().out
    output.close()
    assert capsys.readouterr().out == ""


def test_of_very_many_results_a_table_shows_some_and_counts_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ROWS_MAX", 2)
    output = ResultOutput(as_json=False)
    for name in "abc":
        output.add(refused(name))
    output.add(refused("d") | {"status": "completed"})
    assert capsys.readouterr().out == ""
    output.close()
    shown = capsys.readouterr().out
    assert shown.count("There is no such stage.") == 2
    assert "the first 2 of 4: 3 rejected, 1 completed" in shown


def test_of_very_many_missing_results_some_are_named() -> None:
    error = no_result(["a", "b"], 5_000, 3)
    assert "within 3 s for a, b and 4998 more; look with `clipmill status a`" in error.message
    assert "more" not in no_result(["a", "b"], 2, 3).message
