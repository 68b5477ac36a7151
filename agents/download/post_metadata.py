"""Metadata of a post in the forms that players and media servers read. Pure."""

import re
import unicodedata
from xml.etree import ElementTree as ET

import msgspec
from msgspec.structs import replace

from schemas.events import SelectedVideo
from schemas.video import SelectedSource, VideoInfo

TAG_CHARACTERS_MAX = 1_024
"""Far more than players show; all tags together must fit into a task of the media process."""

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot contain, even escaped."""


def with_tags(event: SelectedVideo) -> SelectedVideo:
    """Return an event whose videos are to be tagged."""
    sources = tuple(replace(each, tagged=_is_video(each)) for each in event.sources)
    return replace(event, sources=sources)


def _is_video(source: SelectedSource) -> bool:
    chosen = source.format
    is_pictured = chosen.video_codec is not None and chosen.picture is None
    return is_pictured and not source.sound_only


def tags_of(info: VideoInfo) -> dict[str, str]:
    """Return the tags of a post, under FFmpeg's names, which every muxer translates to its own."""
    rows = (
        ("title", info.title),
        ("artist", info.author.display_name or info.author.name),
        ("date", info.published_at and f"{info.published_at:%Y-%m-%d}"),
        ("comment", info.url),
    )
    shown = {name: _printable((text or "")[:TAG_CHARACTERS_MAX]) for name, text in rows}
    return {name: text for name, text in shown.items() if text}


def _printable(text: str) -> str:
    return "".join(each for each in text if unicodedata.category(each) not in {"Cc", "Cs"})


def write_nfo(info: VideoInfo) -> bytes:
    """Return the NFO file of a post, which Kodi, Jellyfin and Emby show as a movie.

    https://kodi.wiki/view/NFO_files/Movies
    """
    author = info.author.display_name or info.author.name
    published, seconds = info.published_at, info.duration_seconds
    rows = (
        ("title", info.title),
        ("plot", "\n\n".join(filter(None, (info.description, info.url)))),
        ("premiered", None if published is None else f"{published:%Y-%m-%d}"),
        ("year", None if published is None else f"{published:%Y}"),
        ("runtime", f"{max(1, round(seconds / 60))}" if seconds else None),
        ("studio", info.platform),
        ("credits", author),
    )
    movie = ET.Element("movie")
    for name, text in rows:
        if text:
            ET.SubElement(movie, name).text = _NOT_XML.sub("", text)
    unique = ET.SubElement(movie, "uniqueid", {"type": info.platform, "default": "true"})
    unique.text = info.id
    ET.indent(movie)
    text = ET.tostring(movie, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def write_info(info: VideoInfo) -> bytes:
    """Return the JSON file of a post."""
    return msgspec.json.format(msgspec.json.encode(info)) + b"\n"
