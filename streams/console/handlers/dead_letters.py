"""Dead letters: the list, one dead letter with its record, and its resolution."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from schemas.deadletters import DeadLetterStatus
from schemas.errors import CODE_FAMILIES
from streams.console.access import USER
from streams.console.commands import NOTE_CHARACTERS_MAX
from streams.console.dead_letter_queries import (
    FILTERS,
    DeadLetterQuery,
    list_command,
    parse_query,
)
from streams.console.dead_letters import select_newest
from streams.console.errors import CallError
from streams.console.forms import form_values
from streams.console.http_messages import json_response, read_object
from streams.console.queries import LIMIT, LIMIT_MAX, QueryError
from streams.console.rendering import redirect, render
from streams.console.routes import (
    CHANGE_ERRORS,
    READ_ERRORS,
    Body,
    Parameter,
    RouteOperation,
    Routes,
)
from streams.console.services import SERVICES
from streams.deadletters.dead_letter import (
    STATES,
    DeadLetterState,
    DeadLetterSummary,
    Filter,
    NewestDeadLetters,
    refusal,
)
from streams.deadletters.headers import DeadLetterHeaders
from streams.deadletters.presentation import (
    ShownValue,
    advice,
    dead_letter_fields,
    shown_headers,
    shown_key,
    shown_value,
)

ROUTES = Routes()

CODES_SHOWN = 20


class DeadLetterView(DeadLetterHeaders, frozen=True, kw_only=True):
    """A dead letter without its record.

    Attributes:
        id: `PARTITION-OFFSET-MILLISECONDS`.
        mark: the latest action of an operator.
    """

    id: str
    state: DeadLetterState
    mark: DeadLetterStatus | None


class DeadLetterDetails(DeadLetterView, frozen=True, kw_only=True):
    """A dead letter with its record; the values of cookies are masked.

    Attributes:
        headers: names and values, in their order.
        advice: the commands that apply to it.
    """

    key: str
    headers: tuple[tuple[str, str], ...]
    value: ShownValue
    advice: str


class DeadLetterList(msgspec.Struct, frozen=True, kw_only=True):
    """The newest dead letters that match.

    Attributes:
        count: number of all that match.
        not_indexed: number of older ones that are not in the index, whether they match or not.
    """

    deadletters: tuple[DeadLetterView, ...]
    count: int
    not_indexed: int


class ResolveBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a dead letter needs no further action."""

    note: Annotated[str, msgspec.Meta(max_length=NOTE_CHARACTERS_MAX)] = ""


class ResolvedDeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """The mark of a resolved dead letter."""

    id: str
    state: Literal["resolved"]
    by: str


ID = Parameter(name="id", description="Id of the dead letter.", example="0-17-1790931600000")

_PARAMETERS = (
    Parameter(name="code", description="Error codes or their families, separated by commas."),
    Parameter(name="platform", description="Name of the platform.", example="tiktok"),
    Parameter(name="step", description="Stage that has failed.", example="extraction"),
    Parameter(name="since", description="Failed at this time or later.", example="2h"),
    Parameter(name="until", description="Failed before this time: RFC 3339, or a time span."),
    Parameter(name="engine", description="Version of yt-dlp."),
    Parameter(
        name="state",
        description="State of the dead letter.",
        schema={"type": "string", "enum": list(STATES)},
    ),
    Parameter(
        name="limit",
        description=f"Largest number of dead letters in the list; default: {LIMIT}.",
        schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
    ),
)

_ENTRY: dict[str, Any] = {
    "id": "0-17-1790931600000",
    "state": "waiting",
    "origin_topic": "validated",
    "origin_partition": 1,
    "origin_offset": 812,
    "origin_timestamp": 1790931599.5,
    "step": "extraction",
    "code": "internal.bug",
    "reason": "KeyError: 'itemStruct'",
    "failed_at": "2026-10-02T09:00:00Z",
    "mark": None,
}


@ROUTES.get("/deadletters")
async def dead_letters_page(request: web.Request) -> web.StreamResponse:
    dead_letters = request.app[SERVICES].dead_letters
    query, entries, newest = await _find(request)
    replays_max = dead_letters.replays_max
    states, codes = await asyncio.to_thread(_counts, entries, replays_max)
    return render(
        request,
        "deadletters.html",
        rows=[dead_letter_fields(each, replays_max) for each in newest.newest_first()],
        count=newest.count,
        dropped=dead_letters.index.dropped,
        states=states,
        codes=codes,
        filters=FILTERS,
        state_names=STATES,
        texts=query.texts,
        replay_query=query.texts or {"all": "yes"},
        command=list_command(query.texts),
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/deadletters",
        name="listDeadLetters",
        summary="Return dead letters, newest first, and the number of all that match.",
        parameters=_PARAMETERS,
        response=DeadLetterList,
        example={"deadletters": [_ENTRY], "count": 1, "not_indexed": 0},
    )
)
async def list_dead_letters(request: web.Request) -> web.StreamResponse:
    dead_letters = request.app[SERVICES].dead_letters
    _, _, newest = await _find(request)
    return json_response(
        {
            "deadletters": [
                dead_letter_fields(each, dead_letters.replays_max) for each in newest.newest_first()
            ],
            "count": newest.count,
            "not_indexed": dead_letters.index.dropped,
        }
    )


async def _find(
    request: web.Request,
) -> tuple[DeadLetterQuery, list[DeadLetterSummary], NewestDeadLetters[DeadLetterSummary]]:
    """Return the query of a list, all dead letters, and the newest ones that match."""
    dead_letters = request.app[SERVICES].dead_letters
    query = parse_query(request.query, dead_letters.replays_max)
    entries = dead_letters.entries()
    _check_codes(query.wanted.codes, entries)
    newest = await asyncio.to_thread(select_newest, entries, query.wanted, query.limit)
    return query, entries, newest


def _check_codes(codes: Sequence[str], entries: Sequence[DeadLetterSummary]) -> None:
    """Reject a code that is in no known family, and of no dead letter.

    Raises:
        QueryError: of the first one.
    """
    for code in codes:
        if code.partition(".")[0] in CODE_FAMILIES:
            continue
        if not any(Filter(codes=(code,)).matches(each) for each in entries):
            families = ", ".join(CODE_FAMILIES)
            reason = f"is neither an error code nor a family of them; families: {families}"
            raise QueryError("code", f"{code[:80]!r} {reason}")


def _counts(
    entries: list[DeadLetterSummary], replays_max: int
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return the number of dead letters by state, and by the most frequent codes."""
    states = Counter(each.state(replays_max) for each in entries)
    codes = Counter(each.metadata.code for each in entries if each.metadata.code)
    return [(state, states[state]) for state in STATES], codes.most_common(CODES_SHOWN)


@ROUTES.get("/deadletter")
async def dead_letter_page(request: web.Request) -> web.StreamResponse:
    dead_letters = request.app[SERVICES].dead_letters
    found = await dead_letters.find(request.query.get("id", ""))
    replays_max = dead_letters.replays_max
    state = found.state(replays_max)
    fields = dead_letter_fields(found, replays_max)
    mark = fields["mark"]
    for shown_apart in ("id", "state", "mark"):
        del fields[shown_apart]
    return render(
        request,
        "deadletter.html",
        name=found.id,
        state=state,
        fields=fields,
        mark=mark,
        key=shown_key(found),
        headers=shown_headers(found),
        value=shown_value(found.value),
        advice=advice(found, state),
        needs_force=refusal(found, replays_max=replays_max, force=False) is not None,
        can_replay=refusal(found, replays_max=replays_max, force=True) is None,
    )


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/deadletters/{id}",
        name="showDeadLetter",
        summary="Return a dead letter with its record, and what to do with it.",
        parameters=(ID,),
        response=DeadLetterDetails,
        example={
            **_ENTRY,
            "key": "tiktok:7608826249200356630",
            "headers": [["traceparent", "00-…"]],
            "value": {"format": "json", "bytes": 2, "text": "{}"},
            "advice": "Replay it with `clipmill deadletters replay 0-17-1790931600000`",
        },
        errors=(*READ_ERRORS, 404),
    )
)
async def show_dead_letter(request: web.Request) -> web.StreamResponse:
    dead_letters = request.app[SERVICES].dead_letters
    found = await dead_letters.find(request.match_info["id"])
    return json_response(
        {
            **dead_letter_fields(found, dead_letters.replays_max),
            "key": shown_key(found),
            "headers": shown_headers(found),
            "value": msgspec.to_builtins(shown_value(found.value)),
            "advice": advice(found, found.state(dead_letters.replays_max)),
        }
    )


@ROUTES.post("/resolve")
async def resolve_form(request: web.Request) -> web.StreamResponse:
    form = await form_values(request)
    services, dead_letter_id = request.app[SERVICES], form.get("id", "")
    await services.dead_letters.resolve(
        services.producer, dead_letter_id, request[USER], form.get("note", "")
    )
    return redirect("deadletter", id=dead_letter_id)


@ROUTES.operation(
    RouteOperation(
        method="post",
        path="/deadletters/{id}/resolve",
        name="resolveDeadLetter",
        summary="Mark a dead letter as one that needs no further action.",
        parameters=(ID,),
        body=Body(
            content={"application/json": ResolveBody},
            example={"note": "the post is gone"},
            required=False,
        ),
        response=ResolvedDeadLetter,
        example={"id": "0-17-1790931600000", "state": "resolved", "by": "ann"},
        errors=(*CHANGE_ERRORS, 404, 409),
    )
)
async def resolve(request: web.Request) -> web.StreamResponse:
    note = (await read_object(request, "note")).get("note", "")
    if not isinstance(note, str):
        raise CallError(400, "note", "`$.note` is a text")
    services, dead_letter_id = request.app[SERVICES], request.match_info["id"]
    mark = await services.dead_letters.resolve(
        services.producer, dead_letter_id, request[USER], note
    )
    return json_response({"id": dead_letter_id, "state": mark.state, "by": mark.by})
