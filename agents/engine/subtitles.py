"""Reduces the subtitles of an extractor's result to one source per language, within bounds.

yt-dlp lists every language in every format: those of a video on YouTube, with the translations of
its automatic captions, exceed the size of a result.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

KEYS = ("subtitles", "automatic_captions")
"""yt-dlp's keys of the result: those of the author, and those of speech recognition."""

FORMATS = ("vtt", "srt", "ttml", "dfxp", "srv3", "json3")
"""File extensions that can be read, the best one first: those without styles of a platform."""

ORIGINAL = "-orig"
"""yt-dlp's suffix of the language in which automatic captions were made; others are translated."""

LANGUAGES_MAX = 200
LANGUAGE_CHARACTERS_MAX = 64
NAME_CHARACTERS_MAX = 100
URL_CHARACTERS_MAX = 8_192
TEXT_CHARACTERS_MAX = 100_000
"""Of subtitles that the page contains: half an hour of speech. Others have a URL."""

BYTES_MAX = 250_000
"""Of all subtitles of a post as JSON, a quarter of a result: 200 languages with signed URLs."""

_PROTOCOLS = frozenset({"", "http", "https", "m3u8", "m3u8_native"})

Entries = dict[str, list[dict[str, str]]]
"""One entry per language, as yt-dlp lists them."""


def with_bounded_subtitles(result: Any, *, wanted: bool) -> Any:
    """Return a result with at most one source per language; with none unless they are wanted.

    Results other than the description of a post, or of several, are returned unchanged.
    """
    if not isinstance(result, dict):
        return result
    reduced = {name: value for name, value in result.items() if name not in KEYS}
    entries = result.get("entries")
    if isinstance(entries, list | tuple):
        reduced["entries"] = [with_bounded_subtitles(each, wanted=False) for each in entries]
    return {**reduced, **_bounded(result)} if wanted else reduced


def _bounded(result: Mapping[str, Any]) -> dict[str, Entries]:
    """Return the subtitles of the author, then captions in the spoken language, then others."""
    kept: dict[str, Entries] = {key: {} for key in KEYS}
    size, count = 0, 0
    for key, language, entry in _ranked(result):
        # Escapes take more bytes than the JSON of the result does.
        added = len(json.dumps({language: [entry]}))
        if count < LANGUAGES_MAX and size + added <= BYTES_MAX:
            kept[key][language] = [entry]
            size, count = size + added, count + 1
    return kept


def _ranked(result: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    for key in KEYS:
        listed = result.get(key)
        languages = listed.items() if isinstance(listed, Mapping) else ()
        named = [
            (language, entries)
            for language, entries in languages
            if isinstance(language, str) and 0 < len(language) <= LANGUAGE_CHARACTERS_MAX
        ]
        for language, entries in sorted(named, key=lambda each: not each[0].endswith(ORIGINAL)):
            entry = _best(entries if isinstance(entries, list | tuple) else ())
            if entry is not None:
                yield key, language, entry


def _best(entries: Iterable[Any]) -> dict[str, str] | None:
    """Return the entry in the best format that can be read; without one, the first of any."""
    usable = [found for each in entries if (found := _usable(each))]
    return min(usable, key=lambda each: _rank(each["ext"]), default=None)


def _rank(extension: str) -> int:
    return FORMATS.index(extension) if extension in FORMATS else len(FORMATS)


def _usable(entry: Any) -> dict[str, str] | None:
    """Return the texts of an entry; None for segments of DASH, chats and what exceeds bounds."""
    if not isinstance(entry, Mapping) or entry.get("fragments"):
        return None
    texts = {
        name: value
        for name in ("url", "data", "ext", "protocol", "name")
        if isinstance(value := entry.get(name), str)
    }
    text, url = texts.get("data", ""), texts.get("url", "")
    if not (text or url) or texts.get("protocol", "") not in _PROTOCOLS:
        return None
    if len(text) > TEXT_CHARACTERS_MAX or len(url) > URL_CHARACTERS_MAX:
        return None
    if len(texts.get("ext", "")) > NAME_CHARACTERS_MAX:
        return None
    name = texts.pop("name", "")[:NAME_CHARACTERS_MAX]
    return {"ext": "", **texts, **({"name": name} if name else {})}


def tolerate_failures(extractor: Any) -> None:
    """Let an extractor of yt-dlp return no subtitles where looking for them fails.

    The post itself can be read without them.
    """
    for name in ("extract_subtitles", "extract_automatic_captions"):
        call = getattr(extractor, name, None)
        if call is not None:
            setattr(extractor, name, _tolerant(call))


def _tolerant(call: Callable[..., Any]) -> Callable[..., Any]:
    def extract(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except Exception:  # noqa: BLE001 - foreign code raises anything
            return {}

    return extract
