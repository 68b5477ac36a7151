"""Metadata embedded in video files, by request option. Pure."""

import unicodedata
from collections.abc import Iterator

from msgspec.structs import replace

from schemas.events import SelectedVideo
from schemas.video import SelectedSource, VideoInfo

TAG_CHARACTERS_MAX = 1_024
"""Far more than players show; all tags together must fit into a task of the media process."""


def with_tags(event: SelectedVideo) -> SelectedVideo:
    """Return an event whose videos are tagged, if the request asks for it."""
    if not event.job.options.embed_metadata:
        return event
    sources = tuple(replace(each, tagged=_is_video(each)) for each in event.sources)
    return replace(event, sources=sources)


def tags_of(info: VideoInfo) -> dict[str, str]:
    """Return the tags of a post, under FFmpeg's names, which every muxer translates to its own."""
    return dict(_tags(info))


def _tags(info: VideoInfo) -> Iterator[tuple[str, str]]:
    rows = (
        ("title", info.title),
        ("artist", info.author.display_name or info.author.name),
        ("date", info.published_at and f"{info.published_at:%Y-%m-%d}"),
        ("comment", info.url),
    )
    for name, text in rows:
        printable = "".join(filter(_is_printable, (text or "")[:TAG_CHARACTERS_MAX]))
        if printable:
            yield name, printable


def _is_printable(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cs"}


def _is_video(source: SelectedSource) -> bool:
    chosen = source.format
    is_pictured = chosen.video_codec is not None and chosen.picture is None
    return is_pictured and not source.sound_only
