"""The pages of dead letters: the list, one dead letter, and the form that resolves it."""

import asyncio
from collections import Counter

from aiohttp import web

from streams.console.access import USER
from streams.console.dead_letter_orders import resolve_dead_letter
from streams.console.dead_letter_queries import FILTERS, list_command, parse_query
from streams.console.dead_letters import select_newest
from streams.console.forms import form_values
from streams.console.pages.rendering import Renderer, redirect
from streams.console.services import Services
from streams.deadletters.dead_letter import STATES, DeadLetterSummary, refusal
from streams.deadletters.presentation import (
    advice,
    dead_letter_fields,
    shown_headers,
    shown_key,
    shown_value,
)

CODES_SHOWN = 20


class DeadLetterPages:
    """The handlers of these pages."""

    def __init__(self, services: Services, renderer: Renderer) -> None:
        self._dead_letters = services.dead_letters
        self._producer = services.producer
        self._renderer = renderer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/deadletters", self.list_dead_letters)
        router.add_get("/deadletter", self.show)
        router.add_post("/resolve", self.resolve)

    async def list_dead_letters(self, request: web.Request) -> web.Response:
        replays_max = self._dead_letters.replays_max
        query = parse_query(request.query, replays_max)
        entries = self._dead_letters.entries()
        newest = await asyncio.to_thread(select_newest, entries, query.wanted, query.limit)
        states, codes = await asyncio.to_thread(_counts, entries, replays_max)
        return self._renderer.page(
            "deadletters.html",
            rows=[dead_letter_fields(each, replays_max) for each in newest.newest_first()],
            count=newest.count,
            dropped=self._dead_letters.index.dropped,
            states=states,
            codes=codes,
            filters=FILTERS,
            state_names=STATES,
            texts=query.texts,
            replay_query=query.texts or {"all": "yes"},
            command=list_command(query.texts),
        )

    async def show(self, request: web.Request) -> web.Response:
        found = await self._dead_letters.find(request.query.get("id", ""))
        replays_max = self._dead_letters.replays_max
        state = found.state(replays_max)
        fields = dead_letter_fields(found, replays_max)
        return self._renderer.page(
            "deadletter.html",
            name=found.id,
            state=state,
            fields={name: each for name, each in fields.items() if name not in _SHOWN_APART},
            mark=fields["mark"],
            key=shown_key(found),
            headers=shown_headers(found),
            value=shown_value(found.value),
            advice=advice(found, state),
            needs_force=refusal(found, replays_max=replays_max, force=False) is not None,
            can_replay=refusal(found, replays_max=replays_max, force=True) is None,
        )

    async def resolve(self, request: web.Request) -> web.Response:
        form = await form_values(request)
        dead_letter_id = form.get("id", "")
        await resolve_dead_letter(
            self._dead_letters,
            self._producer,
            dead_letter_id,
            request[USER],
            form.get("note", ""),
        )
        return redirect("deadletter", id=dead_letter_id)


_SHOWN_APART = frozenset({"id", "state", "mark"})


def _counts(
    entries: list[DeadLetterSummary], replays_max: int
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return the number of dead letters by state, and by the most frequent codes."""
    states = Counter(each.state(replays_max) for each in entries)
    codes = Counter(each.metadata.code for each in entries if each.metadata.code)
    return [(state, states[state]) for state in STATES], codes.most_common(CODES_SHOWN)
