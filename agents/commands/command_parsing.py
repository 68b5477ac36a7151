"""Parses command records; rejections name the field and the reason."""

from collections.abc import Sequence
from contextlib import suppress
from typing import get_args

import msgspec

from agents.pipeline.events import propose_result
from agents.pipeline.failures import as_bug, placeholder_job
from agents.pipeline.request_parsing import check_size, is_json, recover_identity, rejection
from agents.pipeline.results import details_of, error_result
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
"""Metric labels: the outcome of a command, and the name of one that cannot be read."""


def read_command(envelope: Envelope, record: Incoming) -> Command:
    """Decode a command; its id, and the new request id of a retry, default to the record id.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large``, with ``field``.
    """
    check_size(envelope)
    try:
        command: Command = decode(envelope.data, Command)  # type: ignore[arg-type]
    except MalformedMessageError as error:
        raise rejection(error) from None
    command = msgspec.structs.replace(command, id=command.id or record.record_id)
    if not isinstance(command, Retry):
        return command
    new_id = command.new_id or command.id
    if new_id == command.request_id:
        raise field_error("$.new_id", "it must differ from request_id")
    return msgspec.structs.replace(command, new_id=new_id)


def field_error(field: str, reason: str) -> ClipmillError:
    return ClipmillError(ErrorCode.REQUEST_INVALID, reason, field=field)


def reject(
    record: Incoming, error: ClipmillError, envelope: Envelope | None = None
) -> Sequence[Effect]:
    """Return the result of an invalid command; a record that is no JSON is also dead-lettered."""
    body = envelope.data if envelope else record.value
    COMMANDS_TAKEN.labels(_kind_of(body), REFUSED).inc()
    outcome = _result(record, error, envelope)
    return [outcome] if is_json(body) else [outcome, dead_letter(record, error, NAME)]


def _result(record: Incoming, error: ClipmillError, envelope: Envelope | None) -> Outgoing:
    identity = recover_identity(record, envelope)
    job = placeholder_job(identity.request_id, record)
    details = details_of(error) | identity.envelope_ids
    context = explain(error.code, operation=NAME, url="", details=details)
    return propose_result(job, NAME, error_result(job, context), record.record_id)


class _Kind(msgspec.Struct, frozen=True):
    command: str


KINDS = tuple(str(each.__struct_config__.tag) for each in get_args(Command))


def _kind_of(body: bytes | None) -> str:
    """Return the command name in a body as a metric label of bounded cardinality."""
    with suppress(MalformedMessageError):
        kind = decode(body or b"", _Kind).command
        return kind if kind in KINDS else UNKNOWN
    return UNKNOWN


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """End the command as ``internal.bug`` and dead-letter its record."""
    return [_result(record, as_bug(error), None), dead_letter(record, error, NAME)]
