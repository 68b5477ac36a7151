"""NFO files of posts: metadata for Kodi, Jellyfin and Emby. Pure.

https://kodi.wiki/view/NFO_files/Movies
"""

import re
from xml.etree import ElementTree as ET

from schemas.video import VideoInfo

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot contain, even escaped."""

_SECONDS = 60


def write_nfo(info: VideoInfo) -> bytes:
    """Return the NFO file of a post, which media servers show as a movie."""
    author = info.author.display_name or info.author.name
    published = info.published_at
    rows = (
        ("title", info.title),
        ("plot", "\n\n".join(filter(None, (info.description, info.url)))),
        ("premiered", None if published is None else f"{published:%Y-%m-%d}"),
        ("year", None if published is None else f"{published:%Y}"),
        ("runtime", _minutes(info.duration_seconds)),
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


def _minutes(seconds: float | None) -> str | None:
    """Return whole minutes, at least one; None without a duration."""
    return str(max(1, round(seconds / _SECONDS))) if seconds else None
