"""Replays and resolutions that users order of the console; the orders are recorded."""

from collections.abc import Mapping
from typing import Any

from schemas.deadletters import DeadLetterStatus
from streams.client import RequestProducer
from streams.console.dead_letter_queries import ReplayOrder
from streams.console.dead_letters import DeadLetters
from streams.console.orders import record_order, text_of
from streams.console.replays import ReplayJob
from streams.deadletters.plan import ReplayPlan


async def start_replay(
    dead_letters: DeadLetters, producer: RequestProducer, order: ReplayOrder, plan: ReplayPlan
) -> ReplayJob:
    """Record an order, and start its replay; return when it has begun.

    Raises:
        CallError: a replay is running.
        UnknownDeadLetterError: an id of the plan is not there, or excluded by its criteria.
        BrokerTimeoutError: Kafka did not acknowledge the record in time.
        MissingAclError: an ACL is missing.
        ClusterUnavailableError: no broker answers, or a topic is missing.
    """
    _, totals = await dead_letters.dry_run(plan)
    dead_letters.replays.check_idle()
    await record_order(
        producer,
        "replay",
        plan.by,
        subject=(order.ids or ("",))[0],
        count=totals.replayed,
        note=text_of(_criteria(order)),
    )
    return await dead_letters.replays.start(plan, order.rate, totals.replayed)


async def resolve_dead_letter(
    dead_letters: DeadLetters,
    producer: RequestProducer,
    dead_letter_id: str,
    by: str,
    note: str,
) -> DeadLetterStatus:
    """Record the order, and mark a dead letter as resolved; return the mark.

    Raises:
        CallError: there is no such dead letter, or the note is too long.
        DecidedDeadLetterError: it is replayed.
        BrokerTimeoutError: Kafka did not acknowledge in time.
        MissingAclError: an ACL is missing.
    """
    dead_letters.check_resolution(dead_letter_id, note)
    await record_order(producer, "resolve", by, subject=dead_letter_id, note=note)
    return await dead_letters.resolve(dead_letter_id, by, note)


def _criteria(order: ReplayOrder) -> Mapping[str, Any]:
    options = {"limit": order.limit, "force": order.force or None}
    given = {name: value for name, value in options.items() if value is not None}
    return {**(order.filter or {}), **given}
