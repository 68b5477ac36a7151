"""The JSON Schema 2020-12 of every message, generated from its struct."""

import json
from typing import Any

import msgspec

from schemas.attempts import AttemptRecord
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.commands import Command
from schemas.contract import examples
from schemas.contract.descriptions import describe, structs_of
from schemas.deadletters import DeadLetterStatus
from schemas.events import (
    ExtractedVideo,
    Failure,
    PendingLink,
    Progress,
    SelectedVideo,
    ValidatedListing,
    ValidatedVideo,
)
from schemas.heartbeat import Heartbeat
from schemas.request import Request
from schemas.results import PublishedResult, Result
from schemas.signals import (
    AccountState,
    BreakerState,
    CacheState,
    CancelSignal,
    EngineState,
    IntakeSignal,
    MediaHostWait,
    RateState,
    RefreshSignal,
)

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VERSION = "v1"

_REF = "#/$defs/{name}"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the contract.

    Attributes:
        name: used in file names and in ``$id``.
        summary: one sentence.
        kind: its struct, or a union of structs.
        shape: the type to document, if more exact than ``kind``.
        examples: valid bodies.
        rules: JSON Schema keywords for constraints that its type cannot express.
    """

    name: str
    summary: str
    kind: Any
    shape: Any = None
    examples: tuple[Any, ...]
    rules: dict[str, Any] = {}

    @property
    def documented(self) -> Any:
        """The type from which the JSON Schema is generated."""
        return self.shape or self.kind

    @property
    def schema_name(self) -> str:
        """Name of its JSON Schema; never a struct's name in another case."""
        return f"{self.name}.{VERSION}"

    @property
    def file_name(self) -> str:
        return f"{self.schema_name}.json"


class AuditShape(AuditRecord, frozen=True, kw_only=True):
    """One transition of a request at a step.

    Attributes:
        outcome: set with ``finished``: the outcome that the step proposes to the ledger.
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
    summary="A request of a client.",
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
    summary="A video to be extracted.",
    kind=ValidatedVideo,
    examples=(examples.VALIDATED_VIDEO,),
)
VALIDATED_LISTING = Message(
    name="validated-listing",
    summary="A profile, collection or playlist to be listed.",
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
    summary="A video to be downloaded, with the selected format.",
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
    summary="Progress of a download.",
    kind=Progress,
    examples=(examples.PROGRESS,),
)
RESULT = Message(
    name="result",
    summary="The outcome of one URL, or the summary of a batch, discriminated by `status`.",
    kind=PublishedResult,
    examples=examples.RESULTS,
)

COMMAND = Message(
    name="command",
    summary="A command of a user or an operator, discriminated by `command`.",
    kind=Command,
    examples=examples.COMMANDS,
)

ATTEMPT = Message(
    name="attempt",
    summary="Input of the error monitor, discriminated by `kind`.",
    kind=AttemptRecord,
    examples=examples.ATTEMPTS,
)
BREAKER_STATE = Message(
    name="breaker-state",
    summary="Circuit breaker of one platform, operation and egress.",
    kind=BreakerState,
    examples=examples.BREAKER_STATES,
)
RATE_STATE = Message(
    name="rate-state",
    summary="Rate limit of a platform over one egress.",
    kind=RateState,
    examples=examples.RATE_STATES,
)
ACCOUNT_STATE = Message(
    name="account-state",
    summary="An account of a platform.",
    kind=AccountState,
    examples=(examples.ACCOUNT_STATE,),
)
CACHE_STATE = Message(
    name="cache-state",
    summary="The caches of a stage in one worker.",
    kind=CacheState,
    examples=(examples.CACHE_STATE,),
)
ENGINE_STATE = Message(
    name="engine-state",
    summary="The extraction engine of one worker.",
    kind=EngineState,
    examples=(examples.ENGINE_STATE,),
)
MEDIA_HOST_WAIT = Message(
    name="media-host-wait",
    summary="A video waits for a media host that its platform does not list.",
    kind=MediaHostWait,
    examples=(examples.MEDIA_HOST_WAIT,),
)
CANCEL_SIGNAL = Message(
    name="cancel-signal",
    summary="A request or a batch is cancelled.",
    kind=CancelSignal,
    examples=(examples.CANCEL_SIGNAL,),
)
REFRESH_SIGNAL = Message(
    name="refresh-signal",
    summary="Cache entries of a video are invalidated.",
    kind=RefreshSignal,
    examples=(examples.REFRESH_SIGNAL,),
)
INTAKE_SIGNAL = Message(
    name="intake-signal",
    summary="Whether a stage consumes records.",
    kind=IntakeSignal,
    examples=(examples.INTAKE_SIGNAL,),
)
DEAD_LETTER_STATUS = Message(
    name="letter-mark",
    summary="An operator's action on a dead letter.",
    kind=DeadLetterStatus,
    examples=(examples.DEAD_LETTER_STATUS,),
)
HEARTBEAT = Message(
    name="heartbeat",
    summary="A record that every stage must consume, as proof of progress.",
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
    ACCOUNT_STATE,
    CACHE_STATE,
    ENGINE_STATE,
    MEDIA_HOST_WAIT,
    CANCEL_SIGNAL,
    REFRESH_SIGNAL,
    INTAKE_SIGNAL,
    DEAD_LETTER_STATUS,
    HEARTBEAT,
)
"""Every message of the contract, in pipeline order."""


def json_schema(message: Message) -> dict[str, Any]:
    """Return the self-contained JSON Schema of a message."""
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
        **_root_schema(reference, definitions),
        **message.rules,
        "examples": [json.loads(encode(each)) for each in message.examples],
        "$defs": definitions,
    }
    refined: dict[str, Any] = refine(schema)
    return refined


def _root_schema(reference: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the root schema; that of a single struct is moved up from the definitions."""
    if "$ref" not in reference:
        return reference
    own: dict[str, Any] = definitions.pop(reference["$ref"].removeprefix(_REF.format(name="")))
    return {key: value for key, value in own.items() if key != "title"}


def refine(node: Any) -> Any:
    """Add constraints that msgspec cannot express.

    Exactly one member of a tagged union matches, and strings with a maximum accept integers too.
    """
    if isinstance(node, list):
        return [refine(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "string" and "maximum" in node:
        return node | {"type": ["string", "integer"]}
    return {
        "oneOf" if key == "anyOf" and "discriminator" in node else key: refine(value)
        for key, value in node.items()
    }


def schema_files() -> dict[str, str]:
    """Return the content of every schema file by file name."""
    return {message.file_name: render_json(json_schema(message)) for message in MESSAGES}


def render_json(document: dict[str, Any]) -> str:
    """Serialise a JSON document as stored in a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
