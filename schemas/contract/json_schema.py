"""The JSON Schema 2020-12 of every message, made from its struct."""

import json
from typing import Any

import msgspec

from schemas.attempts import AttemptRecord
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.commands import Command
from schemas.contract import examples
from schemas.contract.descriptions import describe, structs_of
from schemas.deadletters import Mark
from schemas.events import (
    ExtractedVideo,
    PendingLink,
    SelectedVideo,
    ValidatedListing,
    ValidatedVideo,
)
from schemas.failure import Failure
from schemas.heartbeat import Heartbeat
from schemas.progress import Progress
from schemas.request import Request
from schemas.results import PublishedResult, Result
from schemas.signals import (
    BreakerState,
    CancelSignal,
    IntakeSignal,
    RateState,
    RefreshSignal,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VERSION = "v1"

_REF = "#/$defs/{name}"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the contract.

    Attributes:
        name: in the names of its files and in ``$id``.
        summary: what it is, one sentence.
        kind: its struct, or a union of them.
        shape: what is documented, where that is more exact than ``kind``.
        examples: valid bodies.
        rules: JSON Schema keywords for what its type cannot say.
    """

    name: str
    summary: str
    kind: Any
    shape: Any = None
    examples: tuple[Any, ...]
    rules: dict[str, Any] = {}

    @property
    def documented(self) -> Any:
        """The type that the JSON Schema is made from."""
        return self.shape or self.kind

    @property
    def schema_name(self) -> str:
        """Name of its JSON Schema; struct names differ from it by more than case."""
        return f"{self.name}.{VERSION}"

    @property
    def file_name(self) -> str:
        """Name of the file with its JSON Schema."""
        return f"{self.schema_name}.json"


class AuditShape(AuditRecord, frozen=True, kw_only=True):
    """What happened to a request at a step.

    Attributes:
        outcome: with ``finished``: what the step proposes to the ledger as the outcome.
    """

    outcome: Result | None = None  # type: ignore[assignment]  # carried as JSON, made of this


_ONE_URL_OR_MANY = {
    "oneOf": [
        {
            "required": [given],
            "properties": {given: {"type": kind}, other: {"type": "null"}},
        }
        for given, kind, other in (("url", "string", "urls"), ("urls", "array", "url"))
    ]
}

REQUEST = Message(
    name="request",
    summary="What a client asks for.",
    kind=Request,
    examples=examples.REQUESTS,
    rules=_ONE_URL_OR_MANY,
)
PENDING_LINK = Message(
    name="pending-link",
    summary="A short link that could not be resolved yet.",
    kind=PendingLink,
    examples=(examples.PENDING_LINK,),
)
VALIDATED_VIDEO = Message(
    name="validated-video",
    summary="A video that is to be extracted.",
    kind=ValidatedVideo,
    examples=(examples.VALIDATED_VIDEO,),
)
VALIDATED_LISTING = Message(
    name="validated-listing",
    summary="A profile, collection or playlist whose posts are to be listed.",
    kind=ValidatedListing,
    examples=(examples.VALIDATED_LISTING,),
)
EXTRACTED_VIDEO = Message(
    name="extracted-video",
    summary="A video whose page has been read.",
    kind=ExtractedVideo,
    examples=(examples.EXTRACTED_VIDEO,),
)
SELECTED_VIDEO = Message(
    name="selected-video",
    summary="A video that is to be downloaded, with the format chosen.",
    kind=SelectedVideo,
    examples=(examples.SELECTED_VIDEO,),
)
FAILURE = Message(
    name="failure",
    summary="A failed attempt of a step, with the event that failed.",
    kind=Failure,
    examples=(examples.FAILURE,),
)
AUDIT_RECORD = Message(
    name="audit-record",
    summary="A transition of a request.",
    kind=AuditRecord,
    shape=AuditShape,
    examples=examples.AUDIT_RECORDS,
)
PROGRESS = Message(
    name="progress",
    summary="How far a download is.",
    kind=Progress,
    examples=(examples.PROGRESS,),
)
RESULT = Message(
    name="result",
    summary="The outcome of one URL, or the end of a batch; `status` tells which kind it is.",
    kind=PublishedResult,
    examples=examples.RESULTS,
)

COMMAND = Message(
    name="command",
    summary="What a user or an operator orders; `command` tells what.",
    kind=Command,
    examples=examples.COMMANDS,
)

ATTEMPT = Message(
    name="attempt",
    summary="What the error monitor is told; `kind` tells what.",
    kind=AttemptRecord,
    examples=examples.ATTEMPTS,
)
BREAKER_STATE = Message(
    name="breaker-state",
    summary="Whether attempts of one platform, operation and egress are made.",
    kind=BreakerState,
    examples=examples.BREAKER_STATES,
)
RATE_STATE = Message(
    name="rate-state",
    summary="How fast a platform is asked over one egress.",
    kind=RateState,
    examples=examples.RATE_STATES,
)
CANCEL_SIGNAL = Message(
    name="cancel-signal",
    summary="A request is not wanted any more.",
    kind=CancelSignal,
    examples=(examples.CANCEL_SIGNAL,),
)
REFRESH_SIGNAL = Message(
    name="refresh-signal",
    summary="What is remembered of a video is no use.",
    kind=RefreshSignal,
    examples=(examples.REFRESH_SIGNAL,),
)
INTAKE_SIGNAL = Message(
    name="intake-signal",
    summary="Whether a stage takes records.",
    kind=IntakeSignal,
    examples=(examples.INTAKE_SIGNAL,),
)
LETTER_MARK = Message(
    name="letter-mark",
    summary="What an operator did with a dead letter.",
    kind=Mark,
    examples=(examples.LETTER_MARK,),
)
HEARTBEAT = Message(
    name="heartbeat",
    summary="A sign of life that every stage has to give.",
    kind=Heartbeat,
    examples=(examples.HEARTBEAT,),
)

MESSAGES: tuple[Message, ...] = (
    REQUEST,
    PENDING_LINK,
    VALIDATED_VIDEO,
    VALIDATED_LISTING,
    EXTRACTED_VIDEO,
    SELECTED_VIDEO,
    FAILURE,
    AUDIT_RECORD,
    PROGRESS,
    RESULT,
    COMMAND,
    ATTEMPT,
    BREAKER_STATE,
    RATE_STATE,
    CANCEL_SIGNAL,
    REFRESH_SIGNAL,
    INTAKE_SIGNAL,
    LETTER_MARK,
    HEARTBEAT,
)
"""Every message of the contract, in the order of a request's way."""


def json_schema(message: Message) -> dict[str, Any]:
    """Return the JSON Schema of a message, complete in itself."""
    (reference,), definitions = msgspec.json.schema_components(
        [message.documented], ref_template=_REF
    )
    for name, struct in structs_of(message.documented).items():
        describe(definitions[name], struct)
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "$id": f"urn:clipmill:schema:{message.name}:{VERSION}",
        "title": message.name,
        "description": message.summary,
        **_body(reference, definitions),
        **message.rules,
        "examples": [json.loads(encode(each)) for each in message.examples],
        "$defs": definitions,
    }
    exact: dict[str, Any] = _exact(schema)
    return exact


def _body(reference: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the message itself; a struct's own one moves up from the definitions."""
    if "$ref" not in reference:
        return reference
    own: dict[str, Any] = definitions.pop(reference["$ref"].removeprefix(_REF.format(name="")))
    return {key: value for key, value in own.items() if key != "title"}


def _exact(node: Any) -> Any:
    """Return a schema with what msgspec cannot say.

    Exactly one member of a tagged union fits, and texts with a maximum take integers too.
    """
    if isinstance(node, list):
        return [_exact(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "string" and "maximum" in node:
        return node | {"type": ["string", "integer"]}
    return {
        "oneOf" if key == "anyOf" and "discriminator" in node else key: _exact(value)
        for key, value in node.items()
    }


def schema_files() -> dict[str, str]:
    """Return the text of every schema file by its name."""
    return {message.file_name: as_text(json_schema(message)) for message in MESSAGES}


def as_text(document: dict[str, Any]) -> str:
    """Return a JSON document as it stands in a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
