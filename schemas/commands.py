"""Commands of users and operators, on the topic ``commands``."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from schemas.listing import LISTED_MAX
from schemas.request import INTEGER_IDS, MaxBytes, Quality, RequestId, Sidecars
from schemas.subtitles import SubtitleFormats, SubtitleLanguages

AnyRequestId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=176, extra_json_schema=INTEGER_IDS)
]
"""Id of a client's request, of a batch member, or of a replay."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class BaseCommand(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="command", forbid_unknown_fields=True
):
    """Fields of every command.

    Attributes:
        id: id of the command; a rejection is a ``rejected`` result with this id. Default:
            ``commands-<partition>-<offset>-<timestamp in milliseconds>`` of its record.
        by: author of the command, for the audit history.
    """

    id: RequestId | None = None
    by: Annotated[str, msgspec.Meta(max_length=200)] = ""


class OptionChanges(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Changes to the options of a request; an omitted option keeps its value."""

    quality: Quality | UnsetType = UNSET
    container: Literal["any", "mp4", "webm"] | UnsetType = UNSET
    codec: Literal["any", "h264", "h265"] | UnsetType = UNSET
    audio_only: bool | UnsetType = UNSET
    audio: Literal["video", "song"] | UnsetType = UNSET
    watermark: Literal["avoid", "allow"] | UnsetType = UNSET
    max_bytes: MaxBytes | UnsetType | None = UNSET
    degrade: bool | UnsetType = UNSET
    refresh: bool | UnsetType = UNSET
    sidecars: Sidecars | UnsetType = UNSET
    subtitles: SubtitleLanguages | UnsetType = UNSET
    automatic_subtitles: bool | UnsetType = UNSET
    subtitle_formats: SubtitleFormats | UnsetType = UNSET
    embed_metadata: bool | UnsetType = UNSET
    limit: Annotated[int, msgspec.Meta(ge=1, le=LISTED_MAX)] | UnsetType | None = UNSET


class Cancel(BaseCommand, frozen=True, kw_only=True, tag="cancel"):
    """Cancel a request at any step; a batch with all its members."""

    request_id: AnyRequestId


class Retry(BaseCommand, frozen=True, kw_only=True, tag="retry"):
    """Create a new request from one that has ended, optionally with other options.

    ``new_id`` is the id of the new request; default: the command's id.
    """

    request_id: AnyRequestId
    new_id: RequestId | None = None
    options: OptionChanges = OptionChanges()


class Refresh(BaseCommand, frozen=True, kw_only=True, tag="refresh"):
    """Invalidate all cache entries of a video (``tiktok:7608826249200356630``)."""

    video: Name


class OpenBreaker(BaseCommand, frozen=True, kw_only=True, tag="open_breaker"):
    """Force a breaker (``tiktok:extract:direct``) open until it is reset."""

    breaker: Name


class ResetBreaker(BaseCommand, frozen=True, kw_only=True, tag="reset_breaker"):
    """Close a breaker and clear its counts."""

    breaker: Name


class ResumeStage(BaseCommand, frozen=True, kw_only=True, tag="resume_stage"):
    """Resume the intake of a stage that was paused by too many dead letters."""

    stage: Name


OrderKind = Literal["submit", "retry_all", "cancel_all", "stop_job", "replay", "resolve"]
"""An order of a user that no other command states."""


class RecordOrder(BaseCommand, frozen=True, kw_only=True, tag="record_order"):
    """Record an order that is not a command itself; it is listed, and changes nothing.

    Attributes:
        order: what was ordered.
        subject: the request, batch, job or dead letter that it is about; the first one of several.
        count: number of requests or dead letters.
        note: which ones, or why.
    """

    order: OrderKind
    subject: Annotated[str, msgspec.Meta(max_length=200)] = ""
    count: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 1
    note: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


Command = Cancel | Retry | Refresh | OpenBreaker | ResetBreaker | ResumeStage | RecordOrder
