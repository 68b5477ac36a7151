"""From the bytes of a record to a command; refusals name the field and the reason."""

from collections.abc import Sequence
from contextlib import suppress
from typing import get_args

import msgspec

from agents.pipeline.events import propose_result
from agents.pipeline.failures import as_bug
from agents.pipeline.ownership import placeholder_job
from agents.pipeline.request_parsing import check_size, is_json, recover_identity, refusal
from agents.pipeline.results import ended, facts_of
from schemas.codec import MalformedMessageError, decode
from schemas.commands import Command, Retry
from schemas.error_catalog import explain
from schemas.errors import ClipmillError, ErrorCode
from streams.envelope import Envelope
from streams.observability.metrics import COMMANDS_TAKEN
from streams.records import Effect, Incoming, Outgoing
from streams.runtime.processor import dead_letter

NAME = "commands"

TAKEN, REFUSED, UNKNOWN = "taken", "refused", "unknown"
"""Labels: what became of a command, and the name of one that has none."""


def read_command(envelope: Envelope, record: Incoming) -> Command:
    """Return the command in an envelope, with an id and, of a retry, that of the new request.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large``, with ``field``.
    """
    check_size(envelope)
    try:
        command: Command = decode(envelope.data, Command)  # type: ignore[arg-type]
    except MalformedMessageError as error:
        raise refusal(error) from None
    command = msgspec.structs.replace(command, id=command.id or record.record_id)
    if not isinstance(command, Retry):
        return command
    new_id = command.new_id or command.id
    if new_id == command.request_id:
        raise refuse_field("$.new_id", "the new request needs an id of its own")
    return msgspec.structs.replace(command, new_id=new_id)


def refuse_field(field: str, reason: str) -> ClipmillError:
    """Return the refusal of one field of a command."""
    return ClipmillError(ErrorCode.REQUEST_INVALID, reason, field=field)


def refuse(
    record: Incoming, error: ClipmillError, envelope: Envelope | None = None
) -> Sequence[Effect]:
    """Return the outcome of what is no command; an unreadable one is also kept."""
    body = envelope.data if envelope else record.value
    COMMANDS_TAKEN.labels(_kind_of(body), REFUSED).inc()
    outcome = _outcome(record, error, envelope)
    return [outcome] if is_json(body) else [outcome, dead_letter(record, error, NAME)]


def _outcome(record: Incoming, error: ClipmillError, envelope: Envelope | None) -> Outgoing:
    told = recover_identity(record, envelope)
    job = placeholder_job(told.request_id, record)
    details = facts_of(error) | told.envelope_ids
    context = explain(error.code, operation=NAME, url="", details=details)
    return propose_result(job, NAME, ended(job, context), record.record_id)


class _Kind(msgspec.Struct, frozen=True):
    command: str


KINDS = tuple(str(each.__struct_config__.tag) for each in get_args(Command))


def _kind_of(body: bytes | None) -> str:
    """Return the name of the command in a body, ``unknown`` when there is none of that name."""
    with suppress(MalformedMessageError):
        kind = decode(body or b"", _Kind).command
        return kind if kind in KINDS else UNKNOWN
    return UNKNOWN


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return what an unexpected exception leads to: an outcome that says so, and a dead letter."""
    return [_outcome(record, as_bug(error), None), dead_letter(record, error, NAME)]
