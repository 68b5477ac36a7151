"""Reads the subtitles of an extraction, as `agents.engine.subtitles` lists them."""

import re
from collections.abc import Iterator, Mapping

from agents.engine.subtitles import (
    KEYS,
    LANGUAGE_CHARACTERS_MAX,
    LANGUAGES_MAX,
    NAME_CHARACTERS_MAX,
    ORIGINAL,
    TEXT_CHARACTERS_MAX,
)
from agents.platforms.fields import Fields, decode_raw, text
from agents.platforms.formats import fetchable_url
from schemas.subtitles import SubtitleSource, SubtitleTrack
from schemas.video import Extraction

TRACKS_LISTED_MAX = 100
"""Tracks in the metadata of a post; the pages with the most languages have some 70."""

_AUTOMATIC = KEYS[1]
_GENERATED = "-x-autogen"
"""Vimeo's suffix of a language, for captions by speech recognition among those of the author."""

_UNUSED_SIGNS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def read_subtitles(extraction: Extraction) -> tuple[SubtitleSource, ...]:
    """Return one source per language and kind; those of the author first.

    Empty when the extractor was not asked for subtitles.
    """
    if not extraction.subtitles:
        return ()
    found: dict[tuple[str, bool], SubtitleSource] = {}
    for each in _sources(decode_raw(extraction.raw)):
        found.setdefault((each.language.lower(), each.automatic), each)
    return tuple(sorted(found.values(), key=lambda each: each.automatic))


def tracks_of(sources: tuple[SubtitleSource, ...]) -> tuple[SubtitleTrack, ...]:
    """Return what a result lists of subtitles, without the translations by machines."""
    listed = [each for each in sources if not each.translated][:TRACKS_LISTED_MAX]
    return tuple(
        SubtitleTrack(language=each.language, automatic=each.automatic, name=each.name)
        for each in listed
    )


def _sources(fields: Fields) -> Iterator[SubtitleSource]:
    for key in KEYS:
        listed = _languages(fields.get(key))
        originals = {name.removesuffix(ORIGINAL) for name in listed if name.endswith(ORIGINAL)}
        for name, entry in listed.items():
            bare = name.removesuffix(ORIGINAL)
            is_translated = bool(originals) and bare not in originals
            source = _source(bare, entry, automatic=key == _AUTOMATIC, translated=is_translated)
            if source is not None:
                yield source


def _languages(value: object) -> Mapping[str, Fields]:
    """Return the entry of each language, those in the spoken language first."""
    pairs = list(value.items())[:LANGUAGES_MAX] if isinstance(value, dict) else []
    entries = {
        name: entries[0]
        for name, entries in pairs
        if isinstance(entries, list) and entries and isinstance(entries[0], dict)
    }
    return dict(sorted(entries.items(), key=lambda each: not each[0].endswith(ORIGINAL)))


def _source(
    name: str, entry: Fields, *, automatic: bool, translated: bool
) -> SubtitleSource | None:
    is_generated = name.endswith(_GENERATED)
    language = _clean(name.removesuffix(_GENERATED)).replace("_", "-")
    content, url = entry.get("data"), fetchable_url(entry.get("url"))
    if not isinstance(content, str) or len(content) > TEXT_CHARACTERS_MAX:
        content = None
    if not 0 < len(language) <= LANGUAGE_CHARACTERS_MAX or not (content or entry.get("url")):
        return None
    protocol = text(entry, "protocol", limit=20) or ""
    return SubtitleSource(
        language=language,
        automatic=automatic or is_generated,
        name=text(entry, "name", limit=NAME_CHARACTERS_MAX),
        url=None if content else url,
        text=content,
        playlist=protocol.startswith("m3u8"),
        translated=translated,
    )


def _clean(name: str) -> str:
    return _UNUSED_SIGNS.sub("", name).strip()
