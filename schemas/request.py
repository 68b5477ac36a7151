"""What a client asks for: the body of a record on the requests topic."""

from typing import Annotated, Any, Literal

import msgspec

from schemas.listing import LISTED_MAX
from schemas.moment import Moment

MAX_BATCH_URLS = 1_000
"""URLs in one request; the design's limit, so that one record cannot flood the pipeline."""

MAX_URL_CHARACTERS = 2_048
"""Longer than any platform's link; browsers and CDNs refuse longer ones too."""

Action = Literal["download", "info", "list"]
Quality = Literal["best", "1080p", "720p", "480p", "360p", "worst"]

RequestId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:~@+=-]{0,127}$(?!\n)")]
"""The client's own id. No slash: ``<batch id>/<index>`` names the members of a batch."""

Attributes = Annotated[
    dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=64)],
        Annotated[str, msgspec.Meta(max_length=1_024)],
    ],
    msgspec.Meta(max_length=32),
]
"""Free strings of the client, echoed in every result."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the file should be. A closed list: nothing here reaches yt-dlp as an option.

    Attributes:
        quality: the largest size wanted, measured on the smaller side of the picture.
        container: file type wanted.
        codec: video codec wanted.
        audio_only: only the sound.
        watermark: ``avoid`` never chooses a format that the platform marks as watermarked.
        max_bytes: refuse files larger than this.
        degrade: a lower quality than asked is better than none.
        refresh: do not answer from a cache.
        limit: posts of a profile, collection or playlist; one that is to be downloaded needs it.
    """

    quality: Quality = "best"
    container: Literal["any", "mp4", "webm"] = "any"
    codec: Literal["any", "h264", "h265"] = "any"
    audio_only: bool = False
    watermark: Literal["avoid", "allow"] = "avoid"
    max_bytes: Annotated[int, msgspec.Meta(gt=0)] | None = None
    degrade: bool = True
    refresh: bool = False
    limit: Annotated[int, msgspec.Meta(ge=1, le=LISTED_MAX)] | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request: a URL, or a batch of them. ``{"url": "https://…"}`` is enough.

    Attributes:
        id: names the request in every result; asking twice with one id gives one outcome.
            Default: ``<topic>-<partition>-<offset>`` of the record.
        url: the video, in any form of link that the platform uses.
        urls: a batch; each member has its own outcome, ``<id>/<index>``.
        action: ``download`` makes files, ``info`` answers with the video's metadata, ``list``
            with the posts of a profile, collection or playlist.
        options: how the file should be.
        deadline: after this the outcome is ``expired``.
        priority: 0 (whenever) to 9 (first).
        attributes: free strings, echoed in every result.
        retry_of: id of the earlier request that this one repeats.
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
    retry_of: Annotated[str, msgspec.Meta(max_length=160)] | None = None
