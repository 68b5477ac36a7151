"""The request of a client: body of a record on the topic ``requests``."""

import unicodedata
from typing import Annotated, Any, Literal

import msgspec

from schemas.codec import Moment
from schemas.files import Sidecar
from schemas.listing import LISTED_MAX
from schemas.subtitles import SubtitleFormats, SubtitleLanguages

MAX_BATCH_URLS = 1_000
"""URLs in one request; the design's limit, so that one record cannot flood the pipeline."""

MAX_URL_CHARACTERS = 2_048
"""More than any platform's link has; browsers and CDNs reject longer ones too."""


def strip_invisible(text: str) -> str:
    """Strip white space and invisible characters from both ends of a pasted text.

    Invisible are byte-order marks, zero-width spaces and directional marks, which applications put
    around a copied link.
    """
    start, end = 0, len(text)
    while start < end and _is_blank(text[start]):
        start += 1
    while start < end and _is_blank(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_blank(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cf"


Action = Literal["download", "info", "list"]
Quality = Literal["best", "1080p", "720p", "480p", "360p", "worst"]

INTEGER_IDS: dict[str, Any] = {"minimum": 0, "maximum": 2**63 - 1}
"""JSON Schema keywords of a string that also accepts an integer, which is read as its digits."""

RequestId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:~@+=-]{0,127}$(?!\n)",
        extra_json_schema=INTEGER_IDS,
        extra={"allowed": "1 to 128 letters, digits and ._:~@+=- with a letter or digit at first"},
    ),
]
"""The client's own id. No slash: ``<batch id>/<index>`` names the members of a batch."""

MaxBytes = Annotated[int, msgspec.Meta(gt=0, le=2**63 - 1)]
"""Bounded by the largest integer that JSON encoders write."""

Sidecars = Annotated[tuple[Sidecar, ...], msgspec.Meta(max_length=3)]
"""Kinds of sidecars; a repeated one is stored once."""

Attributes = Annotated[
    dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=64)],
        Annotated[str, msgspec.Meta(max_length=1_024)],
    ],
    msgspec.Meta(max_length=32),
]
"""Free strings of the client, echoed in every result."""


ReplyTopic = Annotated[str, msgspec.Meta(min_length=1, max_length=249)]
"""Full name of a topic on Kafka."""

CORRELATION_BYTES_MAX = 1_024
"""Bytes of a client's correlation id, which is copied to every record of a request."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Destination of a request's results, and the correlation id that they carry.

    Attributes:
        topic: topic that gets the results instead of the results topic; None: the results topic.
        correlation_id: bytes of the client, in JSON as base64, verbatim in a header of each result.
    """

    topic: str | None = None
    correlation_id: bytes | None = None


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the file. A closed list: none is passed to yt-dlp as an option.

    Attributes:
        quality: the largest size wanted, measured on the smaller side of the picture.
        container: file type wanted.
        codec: video codec wanted.
        audio_only: only the sound.
        audio: source of the sound: the ``video`` itself, or the ``song`` that the post names. For
            a photo post both are its song.
        watermark: ``avoid`` never selects a format that the platform marks as watermarked.
        max_bytes: reject files larger than this.
        degrade: accept a lower quality than requested if there is no other.
        refresh: ignore cached results.
        sidecars: files to store beside the media: ``info``, the metadata as JSON; ``thumbnail``,
            the picture that the page names; ``nfo``, metadata for media servers.
        subtitles: languages of the subtitles to store beside the media, such as ``en``, which is
            also ``en-US``; ``all``.
        automatic_subtitles: also subtitles by speech recognition, where a language has no others.
        subtitle_formats: formats of the stored subtitles.
        embed_metadata: write title, author, date and link into the metadata of the video file.
        limit: maximum posts of a profile, collection or playlist; required to download one.
    """

    quality: Quality = "best"
    container: Literal["any", "mp4", "webm"] = "any"
    codec: Literal["any", "h264", "h265"] = "any"
    audio_only: bool = False
    audio: Literal["video", "song"] = "video"
    watermark: Literal["avoid", "allow"] = "avoid"
    max_bytes: MaxBytes | None = None
    degrade: bool = True
    refresh: bool = False
    sidecars: Sidecars = ()
    subtitles: SubtitleLanguages = ()
    automatic_subtitles: bool = False
    subtitle_formats: SubtitleFormats = ("vtt",)
    embed_metadata: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=LISTED_MAX)] | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request: a URL, or a batch of them. ``{"url": "https://…"}`` is enough.

    Attributes:
        id: id of the request in every result. Idempotency key: two requests with one id have one
            outcome, even for different URLs. An integer is read as its digits.
            Default: ``requests-<partition>-<offset>-<timestamp in milliseconds>`` of the record.
        url: the video, in any form of link that the platform uses, or a text with such a link in
            it, as applications share it; the first link of a post counts.
        urls: a batch; each member has its own outcome, ``<id>/<index>``.
        action: ``download`` stores files, ``info`` returns the video's metadata, ``list`` the
            posts of a profile, collection or playlist.
        options: options of the file.
        deadline: after this the outcome is ``expired``.
        priority: 0 (lowest) to 9 (first); at equal priority, single requests precede batches.
        attributes: free strings, echoed in every result.
        retry_of: id of the earlier request that this one repeats.
        reply_to: topic that gets the results instead of ``clipmill.results.v1``; it must be
            configured by the operator (``kafka.reply_topics``).
    """

    id: RequestId | None = None
    url: str | None = None
    urls: (
        Annotated[
            tuple[Any, ...],
            msgspec.Meta(
                min_length=1,
                max_length=MAX_BATCH_URLS,
                extra_json_schema={"items": {"type": "string"}},
            ),
        ]
        | None
    ) = None
    action: Action = "download"
    options: Options = Options()
    deadline: Moment | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] = 5
    attributes: Attributes = {}
    retry_of: Annotated[str, msgspec.Meta(max_length=160, extra_json_schema=INTEGER_IDS)] | None = (
        None
    )
    reply_to: ReplyTopic | None = None
