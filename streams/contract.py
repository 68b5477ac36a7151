"""Who says what where: the messages of each topic, and the topics that each party uses."""

from dataclasses import dataclass
from typing import get_args

from schemas.audit import Transition
from schemas.documents import (
    AUDIT_RECORD,
    EXTRACTED_VIDEO,
    FAILURE,
    PENDING_LINK,
    PROGRESS,
    REQUEST,
    RESULT,
    SELECTED_VIDEO,
    VALIDATED_VIDEO,
    Message,
)
from schemas.results import Result
from streams import topics
from streams.topics import DELAYS, Topic


@dataclass(frozen=True, slots=True)
class Party:
    """One that reads and writes topics.

    Attributes:
        name: ``client``, or the name of the stage.
        purpose: what it does, one sentence.
        reads: topics that it reads.
        writes: topics that it may write.
    """

    name: str
    purpose: str
    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]


KINDS: dict[str, tuple[str, ...]] = {
    PENDING_LINK.name: ("link.pending.v1",),
    VALIDATED_VIDEO.name: ("video.validated.v1",),
    EXTRACTED_VIDEO.name: ("video.extracted.v1",),
    SELECTED_VIDEO.name: ("video.selected.v1",),
    FAILURE.name: ("step.failed.v1",),
    PROGRESS.name: ("download.progress.v1",),
    AUDIT_RECORD.name: tuple(f"request.{each}.v1" for each in get_args(Transition)),
    RESULT.name: tuple(f"request.{each.__struct_config__.tag}.v1" for each in get_args(Result)),
}
"""CloudEvents types of each message that clipmill writes, without their prefix."""

_EVENTS = (PENDING_LINK, VALIDATED_VIDEO, EXTRACTED_VIDEO, SELECTED_VIDEO)

MESSAGES_ON: dict[Topic, tuple[Message, ...]] = {
    topics.REQUESTS: (REQUEST, PENDING_LINK),
    topics.VALIDATED: (VALIDATED_VIDEO,),
    topics.EXTRACTED: (EXTRACTED_VIDEO,),
    topics.SELECTED: (SELECTED_VIDEO,),
    topics.ERRORS: (FAILURE,),
    **dict.fromkeys(DELAYS, _EVENTS),
    topics.AUDIT: (AUDIT_RECORD,),
    topics.PROGRESS: (PROGRESS,),
    topics.RESULTS: (RESULT,),
}
"""Messages of each topic. Dead letters are as they were, so they have no schema of their own."""

_TROUBLE = (topics.ERRORS, topics.AUDIT, topics.DEADLETTERS)

PARTIES: tuple[Party, ...] = (
    Party(
        "client",
        "asks for videos and sees what becomes of them",
        reads=(topics.RESULTS, topics.PROGRESS, topics.AUDIT),
        writes=(topics.REQUESTS,),
    ),
    Party(
        "validation",
        "refuses nonsense and finds out which video a URL means",
        reads=(topics.REQUESTS,),
        writes=(topics.VALIDATED, *_TROUBLE),
    ),
    Party(
        "extraction",
        "reads the page of a video",
        reads=(topics.VALIDATED,),
        writes=(topics.EXTRACTED, *_TROUBLE),
    ),
    Party(
        "selection",
        "chooses the format",
        reads=(topics.EXTRACTED,),
        writes=(topics.SELECTED, *_TROUBLE),
    ),
    Party(
        "download",
        "fetches the file",
        reads=(topics.SELECTED,),
        writes=(topics.PROGRESS, *_TROUBLE),
    ),
    Party(
        "recovery",
        "decides what follows from a failure",
        reads=(topics.ERRORS,),
        writes=(*DELAYS, topics.AUDIT, topics.DEADLETTERS),
    ),
    Party(
        "delay",
        "holds events until they are due",
        reads=tuple(DELAYS),
        writes=(
            topics.REQUESTS,
            topics.VALIDATED,
            topics.EXTRACTED,
            topics.SELECTED,
            topics.DEADLETTERS,
        ),
    ),
    Party(
        "ledger",
        "publishes exactly one outcome per URL",
        reads=(topics.AUDIT,),
        writes=(topics.RESULTS, topics.AUDIT, topics.DEADLETTERS),
    ),
)
"""Everybody on the topics, in the order of a request's way."""
