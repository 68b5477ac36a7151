"""What users and operators order, on the topic ``commands``."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from schemas.listing import LISTED_MAX
from schemas.request import INTEGER_IDS, MaxBytes, Quality, RequestId

AnyRequestId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=176, extra_json_schema=INTEGER_IDS)
]
"""A client's id, a batch member's, or a replay's."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Order(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="command", forbid_unknown_fields=True
):
    """What every command has.

    Attributes:
        id: names the command; a refusal is a ``rejected`` result of this id. Default:
            ``commands-<partition>-<offset>-<timestamp in milliseconds>`` of its record.
        by: who gives it, for the history.
    """

    id: RequestId | None = None
    by: Annotated[str, msgspec.Meta(max_length=200)] = ""


class OptionChanges(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Options of a request that are to be others; what is left out stays as it was."""

    quality: Quality | UnsetType = UNSET
    container: Literal["any", "mp4", "webm"] | UnsetType = UNSET
    codec: Literal["any", "h264", "h265"] | UnsetType = UNSET
    audio_only: bool | UnsetType = UNSET
    audio: Literal["video", "song"] | UnsetType = UNSET
    watermark: Literal["avoid", "allow"] | UnsetType = UNSET
    max_bytes: MaxBytes | UnsetType | None = UNSET
    degrade: bool | UnsetType = UNSET
    refresh: bool | UnsetType = UNSET
    limit: Annotated[int, msgspec.Meta(ge=1, le=LISTED_MAX)] | UnsetType | None = UNSET


class Cancel(Order, frozen=True, kw_only=True, tag="cancel"):
    """Stop a request wherever it is; a batch with all its members."""

    request_id: AnyRequestId


class Retry(Order, frozen=True, kw_only=True, tag="retry"):
    """Make a new request of one that has ended, perhaps with other options.

    ``new_id`` names the new request; default: the command's id.
    """

    request_id: AnyRequestId
    new_id: RequestId | None = None
    options: OptionChanges = OptionChanges()


class Refresh(Order, frozen=True, kw_only=True, tag="refresh"):
    """Forget what is remembered of a video (``tiktok:7608826249200356630``)."""

    video: Name


class OpenBreaker(Order, frozen=True, kw_only=True, tag="open_breaker"):
    """Open a breaker (``tiktok:extract:direct``) until it is reset."""

    breaker: Name


class ResetBreaker(Order, frozen=True, kw_only=True, tag="reset_breaker"):
    """Close a breaker and forget what it counted."""

    breaker: Name


class ResumeStage(Order, frozen=True, kw_only=True, tag="resume_stage"):
    """Let a stage take records again that had stopped because of too many dead letters."""

    stage: Name


Command = Cancel | Retry | Refresh | OpenBreaker | ResetBreaker | ResumeStage
