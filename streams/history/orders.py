"""Orders of users, by the topic of commands: what was ordered, by whom, and when. Pure.

The author is the ``by`` of the record: every producer of the topic may set any. The commands of a
bulk job are one order, whose count grows.
"""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from schemas.codec import MalformedMessageError, decode
from schemas.commands import Cancel, Command, RecordOrder, Retry
from streams.client import command_key
from streams.envelope import open_envelope
from streams.records import Incoming
from streams.topics import COMMANDS

LATEST_SECONDS = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Clients set the times of records; a later one has no RFC 3339."""

JOB_PART = re.compile(r"([0-9a-f]{16})-[0-9a-f]{24}")
"""Id of a command of a bulk job: that of the job, and a digest of the request's."""

PART_OF_JOB = "commands of the job"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order of a user.

    Attributes:
        id: unique; the place of its record, or command, job and author of the parts of a job.
        at: time of its record, by the clock of the console or client, epoch seconds.
        by: the author.
        order: a command (``cancel``, ``retry``, ``refresh``, ``open_breaker``, ``reset_breaker``,
            ``resume_stage``), or a `schemas.commands.OrderKind`.
        subject: the request, post, breaker, stage, job or dead letter.
        count: number of requests or dead letters.
        note: which ones, or why.
        is_part: it is one command of a job; those of one id add up.
    """

    id: str
    at: float
    by: str
    order: str
    subject: str
    count: int = 1
    note: str = ""
    is_part: bool = False


def order_of(record: Any) -> Order | None:
    """Return the order of a record of the commands; None for one that the service rejects."""
    at = min(max(record.timestamp / 1_000, 0.0), LATEST_SECONDS)
    incoming = Incoming(
        topic=COMMANDS.name,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
        timestamp=at,
    )
    try:
        command: Command = decode(open_envelope(incoming).data, Command)  # type: ignore[arg-type]
    except MalformedMessageError:
        return None
    place = f"{record.partition}-{record.offset}"
    kind = str(command.__struct_config__.tag)
    if isinstance(command, RecordOrder):
        return Order(
            id=place,
            at=at,
            by=command.by,
            order=command.order,
            subject=command.subject,
            count=command.count,
            note=command.note,
        )
    part = JOB_PART.fullmatch(command.id or "")
    if part is not None and isinstance(command, Cancel | Retry):
        job = part[1]
        return Order(
            id=f"{kind} {job} {command.by}",
            at=at,
            by=command.by,
            order=kind,
            subject=job,
            note=PART_OF_JOB,
            is_part=True,
        )
    return Order(
        id=place,
        at=at,
        by=command.by,
        order=kind,
        subject=command_key(command),
        note=_note(command),
    )


def _note(command: Command) -> str:
    """Return the changed options of a retry, and the id of its new request."""
    if not isinstance(command, Retry):
        return ""
    options: dict[str, object] = msgspec.to_builtins(command.options)
    changes = [f"{name}={value}" for name, value in options.items()]
    return ", ".join([*([f"as {command.new_id}"] if command.new_id else []), *changes])
