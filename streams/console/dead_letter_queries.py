"""Filters of dead letters, and orders of replays, in query strings, forms and JSON bodies."""

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from streams.console.errors import CallError
from streams.console.queries import QueryError, check_names, given_texts, parse_limit
from streams.deadletters.dead_letter import STATES, Filter
from streams.deadletters.operations import DEFAULT_RATE
from streams.deadletters.plan import ReplayPlan
from streams.moments import parse_past

FILTERS = ("code", "platform", "step", "since", "until", "engine", "state")

RATE_MAX = 10_000.0


class DeadLetterQuery(msgspec.Struct, frozen=True):
    """A list of dead letters.

    Attributes:
        texts: the filters as they were given, for the form and the links.
    """

    wanted: Filter
    limit: int
    texts: Mapping[str, str]


class ReplayOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A replay as a caller orders it.

    Attributes:
        ids: the dead letters; None for all that match the filter.
        filter: criteria, of `FILTERS`; an empty one matches all dead letters.
        limit: maximum number.
        rate: dead letters per second.
        force: parked and resolved ones too.
    """

    ids: Annotated[list[str], msgspec.Meta(min_length=1)] | None = None
    filter: dict[str, str] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    rate: Annotated[float, msgspec.Meta(ge=0.01, le=RATE_MAX)] = DEFAULT_RATE
    force: bool = False

    def plan(self, replays_max: int, by: str) -> ReplayPlan:
        """Return the plan of the replay.

        Raises:
            QueryError: a criterion is unknown or malformed.
        """
        wanted = parse_filter(self.filter or {}, replays_max, frozenset(self.ids or ()))
        return ReplayPlan(wanted, force=self.force, limit=self.limit, by=by)


def parse_query(parameters: Mapping[str, str], replays_max: int) -> DeadLetterQuery:
    """Parse the parameters of a list; empty ones, as a form sends them, count as missing.

    Raises:
        QueryError: a parameter is unknown or malformed.
    """
    given = given_texts(parameters, (*FILTERS, "limit"))
    limit = parse_limit(given.pop("limit", None))
    return DeadLetterQuery(parse_filter(given, replays_max), limit, given)


def parse_filter(
    texts: Mapping[str, str], replays_max: int, ids: frozenset[str] = frozenset()
) -> Filter:
    """Parse criteria; ``code`` may be several, with commas between them.

    Raises:
        QueryError: one is unknown or malformed.
    """
    check_names(texts, FILTERS)
    criteria: dict[str, Any] = dict(texts)
    codes = tuple(code.strip() for code in criteria.pop("code", "").split(",") if code.strip())
    if texts.get("state", STATES[0]) not in STATES:
        raise QueryError("state", f"{texts['state'][:80]!r} is not one of {', '.join(STATES)}")
    for name in ("since", "until"):
        if name in texts:
            criteria[name] = _parse_moment(name, texts[name])
    return Filter(ids=ids, codes=codes, replays_max=replays_max, **criteria)


def _parse_moment(name: str, text: str) -> datetime:
    try:
        return parse_past(text, datetime.now(UTC))
    except (ValueError, OverflowError) as error:
        raise QueryError(name, str(error)) from None


def parse_order(body: Mapping[str, object]) -> ReplayOrder:
    """Parse a body, or the texts of a form, into an order.

    Raises:
        CallError: it is malformed, or does not say which dead letters are meant.
    """
    try:
        order = msgspec.convert(body, ReplayOrder, strict=False)
    except msgspec.ValidationError as error:
        raise CallError(400, "body", str(error)) from None
    if order.ids is None and order.filter is None:
        raise CallError(
            400,
            "body",
            "say which dead letters: `$.ids`, or `$.filter`; the empty filter matches all",
        )
    return order


def parse_order_form(parameters: Mapping[str, str]) -> ReplayOrder:
    """Parse the parameters of the replay page, and the fields of its form.

    Raises:
        CallError: one is unknown or malformed, or none says which dead letters are meant.
    """
    options = ("limit", "rate", "force")
    given = given_texts(parameters, ("id", "all", *FILTERS, *options))
    criteria = {name: given[name] for name in FILTERS if name in given}
    body: dict[str, object] = {name: given[name] for name in options if name in given}
    if "id" in given:
        body["ids"] = [given["id"]]
    if criteria or "all" in given:
        body["filter"] = criteria
    if not ("id" in given or "filter" in body):
        raise QueryError("all", "say which dead letters: id, a filter, or all")
    return parse_order(body)


def with_fixed_moments(order: ReplayOrder, plan: ReplayPlan) -> ReplayOrder:
    """Return an order whose time spans are points in time, so that it selects the same later."""
    moments = {"since": plan.criteria.since, "until": plan.criteria.until}
    fixed = {name: at.isoformat() for name, at in moments.items() if at is not None}
    criteria = None if order.filter is None else order.filter | fixed
    return msgspec.structs.replace(order, filter=criteria)


def replay_command(order: ReplayOrder) -> str:
    """Return the equal command of the command line."""
    words = ["clipmill", "deadletters", "replay", *(order.ids or ())]
    words += _filter_options(order.filter or {})
    if order.ids is None and not order.filter:
        words.append("--all")
    if order.limit is not None:
        words += ["--limit", str(order.limit)]
    if order.rate != DEFAULT_RATE:
        words += ["--rate", f"{order.rate:g}"]
    return shlex.join([*words, *(["--force"] if order.force else [])])


def list_command(texts: Mapping[str, str]) -> str:
    """Return the command of the command line that lists the same."""
    return shlex.join(["clipmill", "deadletters", "list", *_filter_options(texts)])


def _filter_options(texts: Mapping[str, str]) -> list[str]:
    codes = [code.strip() for code in texts.get("code", "").split(",") if code.strip()]
    pairs = [("code", code) for code in codes]
    pairs += [(name, texts[name]) for name in FILTERS[1:] if name in texts]
    return [word for name, value in pairs for word in (f"--{name}", value)]
