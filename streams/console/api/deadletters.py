"""Dead letters: list, show, replay, resolve."""

import asyncio
from typing import Any

from aiohttp import web

from streams.console.access import USER
from streams.console.api.responses import ROOT, json_response, read_object
from streams.console.dead_letter_orders import resolve_dead_letter, start_replay
from streams.console.dead_letter_queries import ReplayOrder, parse_order, parse_query
from streams.console.dead_letters import select_newest
from streams.console.errors import CallError
from streams.console.services import Services
from streams.deadletters.dead_letter import DeadLetterRecord
from streams.deadletters.plan import ReplayPlan
from streams.deadletters.presentation import (
    advice,
    dead_letter_fields,
    shown_headers,
    shown_key,
    shown_value,
)

SELECTED_IDS_MAX = 1_000
"""Ids in the response to a dry run."""


class DeadLetterApi:
    """The handlers of dead letters."""

    def __init__(self, services: Services) -> None:
        self._dead_letters = services.dead_letters
        self._producer = services.producer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(f"{ROOT}/deadletters", self.list_dead_letters)
        router.add_get(f"{ROOT}/replay", self.show_replay)
        router.add_post(f"{ROOT}/replay", self.replay)
        router.add_post(f"{ROOT}/replay/dry-run", self.dry_run)
        router.add_get(f"{ROOT}/deadletters/{{id}}", self.show)
        router.add_post(f"{ROOT}/deadletters/{{id}}/resolve", self.resolve)

    async def list_dead_letters(self, request: web.Request) -> web.Response:
        """Return the newest dead letters that match, and the number of all that do."""
        replays_max = self._dead_letters.replays_max
        query = parse_query(request.query, replays_max)
        entries = self._dead_letters.entries()
        newest = await asyncio.to_thread(select_newest, entries, query.wanted, query.limit)
        return json_response(
            {
                "deadletters": [
                    dead_letter_fields(each, replays_max) for each in newest.newest_first()
                ],
                "count": newest.count,
                "not_indexed": self._dead_letters.index.dropped,
            }
        )

    async def show(self, request: web.Request) -> web.Response:
        """Return a dead letter with its record, without the values of cookies."""
        found = await self._dead_letters.find(request.match_info["id"])
        return json_response(_to_json(found, self._dead_letters.replays_max))

    async def replay(self, request: web.Request) -> web.Response:
        order, plan = await self._read_order(request)
        job = await start_replay(self._dead_letters, self._producer, order, plan)
        return json_response(job.to_json(), 202)

    async def dry_run(self, request: web.Request) -> web.Response:
        """Return what a replay would do."""
        _, plan = await self._read_order(request)
        selected, totals = await self._dead_letters.dry_run(plan)
        return json_response(
            {
                "would_replay": totals.replayed,
                "ids": [each.id for each in selected[:SELECTED_IDS_MAX]],
                "skipped": dict(totals.skipped),
                "not_indexed": self._dead_letters.index.dropped,
            }
        )

    async def _read_order(self, request: web.Request) -> tuple[ReplayOrder, ReplayPlan]:
        order = parse_order(await read_object(request, *ReplayOrder.__struct_fields__))
        return order, order.plan(self._dead_letters.replays_max, request[USER])

    async def show_replay(self, _request: web.Request) -> web.Response:
        """Return the running replay of this console, or the last one, or null."""
        job = self._dead_letters.replays.latest
        return json_response({"replay": None if job is None else job.to_json()})

    async def resolve(self, request: web.Request) -> web.Response:
        """Mark a dead letter as one that needs no further action."""
        note = (await read_object(request, "note")).get("note", "")
        if not isinstance(note, str):
            raise CallError(400, "note", "`$.note` is a text")
        dead_letter_id = request.match_info["id"]
        mark = await resolve_dead_letter(
            self._dead_letters, self._producer, dead_letter_id, request[USER], note
        )
        return json_response({"id": dead_letter_id, "state": mark.state, "by": mark.by})


def _to_json(found: DeadLetterRecord, replays_max: int) -> dict[str, Any]:
    value = shown_value(found.value)
    return {
        **dead_letter_fields(found, replays_max),
        "key": shown_key(found),
        "headers": shown_headers(found),
        "value": {"format": value.format, "bytes": value.bytes, "text": value.text},
        "advice": advice(found, found.state(replays_max)),
    }
