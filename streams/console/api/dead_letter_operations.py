"""Operations on dead letters, and the types of their JSON."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from schemas.deadletters import DeadLetterStatus
from streams.console.api.operations import CHANGE_ERRORS, READ_ERRORS, Body, Operation, Parameter
from streams.console.dead_letter_queries import ReplayOrder
from streams.console.dead_letters import NOTE_CHARACTERS_MAX
from streams.console.queries import LIMIT, LIMIT_MAX
from streams.deadletters.dead_letter import STATES, State
from streams.deadletters.headers import DeadLetterHeaders
from streams.deadletters.presentation import ShownValue


class DeadLetterView(DeadLetterHeaders, frozen=True, kw_only=True):
    """A dead letter without its record.

    Attributes:
        id: `PARTITION-OFFSET-MILLISECONDS`.
        mark: the latest action of an operator.
    """

    id: str
    state: State
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


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """A replay that this console has started.

    Attributes:
        by: user.
        expected: number that was to be replayed when it began.
        skipped: number of matching ones that were not replayed, by reason.
        error: why it has failed.
    """

    state: Literal["running", "finished", "failed"]
    by: str
    expected: int
    replayed: int
    skipped: dict[str, int]
    started_at: datetime
    ended_at: datetime | None
    error: str | None


class LatestReplay(msgspec.Struct, frozen=True, kw_only=True):
    """The running replay of this console, or the last one, or null."""

    replay: ReplayView | None


class DryRunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay would do.

    Attributes:
        ids: the first ones that would be replayed.
        skipped: number of matching ones that would not, by reason.
        not_indexed: number of older ones that are not in the index, whether they match or not.
    """

    would_replay: int
    ids: tuple[str, ...]
    skipped: dict[str, int]
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

_REPLAY = {
    "state": "running",
    "by": "ann",
    "expected": 300,
    "replayed": 100,
    "skipped": {"already replayed": 2},
    "started_at": "2026-11-02T09:00:00Z",
    "ended_at": None,
    "error": None,
}

OPERATIONS = (
    Operation(
        method="get",
        path="/deadletters",
        name="listDeadLetters",
        summary="Return dead letters, newest first, and the number of all that match.",
        parameters=_PARAMETERS,
        response=DeadLetterList,
        example={"deadletters": [_ENTRY], "count": 1, "not_indexed": 0},
    ),
    Operation(
        method="get",
        path="/replay",
        name="showReplay",
        summary="Return the running replay of this console, or the last one.",
        response=LatestReplay,
        example={"replay": _REPLAY},
    ),
    Operation(
        method="post",
        path="/replay",
        name="replayDeadLetters",
        summary="Replay dead letters: `ids`, or those that match `filter`.",
        body=Body(
            content={"application/json": ReplayOrder},
            example={"filter": {"code": "internal.bug"}, "limit": 100},
        ),
        status=202,
        response=ReplayView,
        example=_REPLAY,
        errors=(*CHANGE_ERRORS, 404, 409),
    ),
    Operation(
        method="post",
        path="/replay/dry-run",
        name="dryRunReplay",
        summary="Return what a replay would do; takes the same body, and publishes nothing.",
        body=Body(
            content={"application/json": ReplayOrder},
            example={"filter": {"code": "internal.bug"}, "limit": 100},
        ),
        response=DryRunResult,
        example={
            "would_replay": 1,
            "ids": ["0-17-1790931600000"],
            "skipped": {"already replayed": 2},
            "not_indexed": 0,
        },
        errors=(*CHANGE_ERRORS, 404),
    ),
    Operation(
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
    ),
    Operation(
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
    ),
)
