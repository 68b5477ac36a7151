"""Topology of the contract: messages per topic, and topics produced and consumed per party."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from schemas.audit import Transition
from schemas.contract.json_schema import (
    ACCOUNT_STATE,
    ATTEMPT,
    AUDIT_RECORD,
    BREAKER_STATE,
    CACHE_STATE,
    CANCEL_SIGNAL,
    COMMAND,
    DEAD_LETTER_STATUS,
    ENGINE_STATE,
    EXTRACTED_VIDEO,
    FAILURE,
    HEARTBEAT,
    INTAKE_SIGNAL,
    MEDIA_HOST_WAIT,
    PENDING_LINK,
    PROGRESS,
    RATE_STATE,
    REFRESH_SIGNAL,
    REQUEST,
    RESULT,
    SELECTED_VIDEO,
    VALIDATED_LISTING,
    VALIDATED_VIDEO,
    Message,
)
from schemas.results import Result
from streams import topics
from streams.stage import Stage, StageMessage
from streams.topics import DELAYS, Topic


@dataclass(frozen=True, slots=True)
class Party:
    """A producer and consumer of topics.

    Attributes:
        name: ``client``, ``operator``, or the name of a stage.
        purpose: predicate of a sentence.
        reads: topics that it consumes.
        writes: topics that it may produce to.
    """

    name: str
    purpose: str
    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]


KINDS: dict[str, tuple[str, ...]] = {
    PENDING_LINK.name: ("link.pending.v1",),
    VALIDATED_VIDEO.name: ("video.validated.v1",),
    VALIDATED_LISTING.name: ("listing.validated.v1",),
    EXTRACTED_VIDEO.name: ("video.extracted.v1",),
    SELECTED_VIDEO.name: ("video.selected.v1",),
    FAILURE.name: ("step.failed.v1",),
    PROGRESS.name: ("download.progress.v1",),
    AUDIT_RECORD.name: tuple(f"request.{each}.v1" for each in get_args(Transition)),
    RESULT.name: (
        *(f"request.{each.__struct_config__.tag}.v1" for each in get_args(Result)),
        "batch.finished.v1",
    ),
    ATTEMPT.name: ("network.attempt.v1", "network.trial.v1", "breaker.ordered.v1"),
    BREAKER_STATE.name: ("breaker.changed.v1",),
    RATE_STATE.name: ("rate.changed.v1",),
    ACCOUNT_STATE.name: ("account.changed.v1",),
    CACHE_STATE.name: ("caches.changed.v1",),
    ENGINE_STATE.name: ("engine.changed.v1",),
    MEDIA_HOST_WAIT.name: ("host.awaited.v1",),
    CANCEL_SIGNAL.name: ("cancel.v1",),
    REFRESH_SIGNAL.name: ("refresh.v1",),
    INTAKE_SIGNAL.name: ("intake.v1",),
    DEAD_LETTER_STATUS.name: ("letter.marked.v1",),
    HEARTBEAT.name: ("heartbeat.v1",),
}
"""CloudEvents types of each message that clipmill produces, without their prefix."""

_EVENTS = (PENDING_LINK, VALIDATED_VIDEO, VALIDATED_LISTING, EXTRACTED_VIDEO, SELECTED_VIDEO)

MESSAGES_ON: dict[Topic, tuple[Message, ...]] = {
    topics.REQUESTS: (REQUEST, PENDING_LINK),
    topics.VALIDATED: (VALIDATED_VIDEO, VALIDATED_LISTING),
    topics.EXTRACTED: (EXTRACTED_VIDEO,),
    topics.SELECTED: (SELECTED_VIDEO,),
    topics.ERRORS: (FAILURE,),
    **dict.fromkeys(DELAYS, _EVENTS),
    topics.AUDIT: (AUDIT_RECORD,),
    topics.PROGRESS: (PROGRESS,),
    topics.RESULTS: (RESULT,),
    topics.COMMANDS: (COMMAND,),
    topics.ATTEMPTS: (ATTEMPT,),
    topics.SIGNALS: (
        BREAKER_STATE,
        RATE_STATE,
        ACCOUNT_STATE,
        CACHE_STATE,
        ENGINE_STATE,
        MEDIA_HOST_WAIT,
        CANCEL_SIGNAL,
        REFRESH_SIGNAL,
        INTAKE_SIGNAL,
    ),
    topics.MARKS: (DEAD_LETTER_STATUS,),
    topics.HEARTBEATS: (HEARTBEAT,),
}
"""Messages of each topic. Dead letters are unchanged records, so they have no schema."""

_REPLAYED = (
    topics.REQUESTS,
    topics.VALIDATED,
    topics.EXTRACTED,
    topics.SELECTED,
    topics.ERRORS,
    *DELAYS,
    topics.ATTEMPTS,
    topics.AUDIT,
    topics.COMMANDS,
)
"""Source topics of stages, to which dead letters are replayed."""

EXTERNAL_PARTIES: tuple[Party, ...] = (
    Party(
        "client",
        "requests videos and consumes their results",
        reads=(topics.RESULTS, topics.PROGRESS, topics.AUDIT, topics.SIGNALS),
        writes=(topics.REQUESTS, topics.COMMANDS),
    ),
    Party(
        "operator",
        "lists, replays and resolves dead letters (`clipmill deadletters`)",
        reads=(topics.DEADLETTERS, topics.MARKS),
        writes=(topics.MARKS, *_REPLAYED),
    ),
)
"""Parties that are not stages."""


def messages_on(stages: Sequence[Stage]) -> dict[Topic, tuple[Message, ...]]:
    """Return the messages of each topic, those that only one stage has included."""
    own: dict[Topic, tuple[Message, ...]] = {}
    for each in _stage_messages(stages):
        own[each.topic] = (*own.get(each.topic, ()), _message(each))
    return MESSAGES_ON | own


def kinds_of(stages: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """Return the CloudEvents types of each message by its name; see `KINDS`."""
    return KINDS | {_message(each).name: (each.kind,) for each in _stage_messages(stages)}


def _stage_messages(stages: Sequence[Stage]) -> list[StageMessage]:
    return [message for stage in stages for message in stage.messages]


def _message(declared: StageMessage) -> Message:
    """Return the message, named after its type: ``thumbnail.stored.v1`` is thumbnail-stored."""
    name = declared.kind.rpartition(".")[0].replace(".", "-")
    summary = inspect.cleandoc(declared.body.__doc__ or name).partition("\n")[0]
    return Message(name=name, summary=summary, kind=declared.body, examples=())


def all_parties(stages: Sequence[Stage]) -> tuple[Party, ...]:
    """Return the external parties and the stages, these in the order of their source topics."""
    order = {topic: index for index, topic in enumerate(topics.TOPICS)}
    ordered = sorted(stages, key=lambda stage: order.get(stage.sources[0], len(order)))
    return (
        *EXTERNAL_PARTIES,
        *(Party(each.name, each.purpose, each.reads, each.produces) for each in ordered),
    )
