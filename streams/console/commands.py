"""Publishes the requests, commands and orders of the console's users.

An order records a user's action that is no command, such as a replay. It is published before the
action runs: no action lacks a record, and one that fails, or whose console is killed, has one too.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from schemas.codec import MalformedMessageError, decode, encode
from schemas.commands import (
    Cancel,
    Command,
    OpenBreaker,
    OptionChanges,
    OrderKind,
    RecordOrder,
    ResetBreaker,
    ResumeStage,
    Retry,
)
from streams.client import RequestProducer
from streams.console.errors import BrokerTimeoutError, CallError
from streams.new_requests import LineSplitter, NewRequest, RequestBuilder, new_id

AnyCommand = TypeVar("AnyCommand", bound=Command)

PUBLISH_SECONDS = 15.0
"""Timeout of the broker's acknowledgement; an election of a new controller takes up to 10 s."""

SUBJECT_CHARACTERS_MAX = 200

NOTE_CHARACTERS_MAX = 1_000


def parse_requests(
    text: bytes, name: str, run_id: str, fields: dict[str, Any] | None = None
) -> list[NewRequest]:
    """Parse lines, each a URL or a request as JSON.

    Args:
        text: the lines.
        name: name of the source, for error texts.
        run_id: prefix of the ids of requests without one.
        fields: defaults of the fields of all requests.

    Raises:
        InputError: a line is unusable.
    """
    splitter = LineSplitter(name)
    lines = [*splitter.feed(text), *splitter.flush()]
    builder = RequestBuilder(run_id, fields or {}, single=len(lines) == 1)
    return [new for line in lines for new in builder.add(line)]


def parse_retry(request_id: str, options: object, by: str, *, name: object) -> Retry:
    """Return the command that retries a request.

    Args:
        request_id: the request.
        options: changes to its options.
        by: author of the command.
        name: id of the new request; a command that is published again makes no second one.

    Raises:
        CallError: the id or an option is malformed.
    """
    fields = {"id": name, "new_id": name, "request_id": request_id, "options": options, "by": by}
    return _parse(fields, "retry", Retry)


def parse_cancel(request_id: str, by: str) -> Cancel:
    """Return the command that cancels a request.

    Raises:
        CallError: no request has such an id.
    """
    return _parse({"id": new_id(), "request_id": request_id, "by": by}, "cancel", Cancel)


def parse_options(options: object) -> OptionChanges:
    """Return the changes that a retry makes.

    Raises:
        CallError: an option is malformed.
    """
    return parse_retry("any", options, by="", name="any").options


def parse_open_breaker(name: str, by: str) -> OpenBreaker:
    """Return the command that forces a breaker open.

    Raises:
        CallError: the name is malformed.
    """
    return _parse({"id": new_id(), "breaker": name, "by": by}, "open_breaker", OpenBreaker)


def parse_reset_breaker(name: str, by: str) -> ResetBreaker:
    """Return the command that closes a breaker.

    Raises:
        CallError: the name is malformed.
    """
    return _parse({"id": new_id(), "breaker": name, "by": by}, "reset_breaker", ResetBreaker)


def parse_resume_stage(name: str, by: str) -> ResumeStage:
    """Return the command that resumes a stage.

    Raises:
        CallError: the name is malformed.
    """
    return _parse({"id": new_id(), "stage": name, "by": by}, "resume_stage", ResumeStage)


def _parse(fields: dict[str, object], name: str, kind: type[AnyCommand]) -> AnyCommand:
    try:
        return decode(encode({**fields, "command": name}), kind)
    except MalformedMessageError as error:
        raise CallError(400, "body", str(error)) from None


async def publish_commands(producer: RequestProducer, commands: Sequence[Command]) -> None:
    """Publish commands and wait for the acknowledgement.

    Raises:
        BrokerTimeoutError: it did not come in time.
    """
    await _acknowledged(producer.send_command(*commands))


async def record_order(
    producer: RequestProducer,
    order: OrderKind,
    by: str,
    *,
    subject: str,
    count: int = 1,
    note: str = "",
) -> None:
    """Publish an order, and wait for the acknowledgement.

    Raises:
        BrokerTimeoutError: it did not come in time.
    """
    command = RecordOrder(
        id=new_id(),
        by=by,
        order=order,
        subject=subject[:SUBJECT_CHARACTERS_MAX],
        count=count,
        note=note[:NOTE_CHARACTERS_MAX],
    )
    await publish_commands(producer, [command])


async def submit_requests(
    producer: RequestProducer, requests: Sequence[NewRequest], by: str
) -> None:
    """Record the order, and publish its requests.

    Raises:
        BrokerTimeoutError: an acknowledgement did not come in time.
    """
    count = sum(each.members or 1 for each in requests)
    await record_order(producer, "submit", by, subject=requests[0].id, count=count)
    await _acknowledged(producer.publish([each.body for each in requests]))


def text_of(fields: Mapping[str, object]) -> str:
    """Return the note that names some fields."""
    return ", ".join(f"{name}={value}" for name, value in fields.items())


async def _acknowledged(publishing: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(PUBLISH_SECONDS):
            await publishing
    except TimeoutError:
        raise BrokerTimeoutError(
            f"Kafka did not acknowledge within {PUBLISH_SECONDS:.0f} s, and may have the records "
            "or not; check the history, or repeat the call with the same ids"
        ) from None
