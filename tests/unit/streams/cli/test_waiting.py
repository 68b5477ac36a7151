import asyncio
from collections.abc import AsyncIterator
from typing import Any

import click
import pytest

from streams.cli import waiting
from streams.cli.waiting import confirmed, first_of, results_of


class FakeClient:
    """Gives these records, and then nothing for ever."""

    def __init__(self, *results: dict[str, Any]) -> None:
        self._results = results

    async def records(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        for result in self._results:
            yield "results", result
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
