"""Subtitles of posts: what a request asks for, what a page offers, what is missing in a result."""

from typing import Annotated, Literal

import msgspec

ALL = "all"
"""Range of every language, see `LanguageRange`."""

RANGES_MAX = 32

LanguageRange = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9]{1,8}(?:[-_][A-Za-z0-9]{1,8}){0,6}$(?!\n)",
        extra={"allowed": "a language tag such as `en`, `en-US` or `zh-Hans`, or `all`"},
    ),
]
"""A language tag (BCP 47): ``en`` is also ``en-US``, as in basic filtering of RFC 4647."""

SubtitleLanguages = Annotated[tuple[LanguageRange, ...], msgspec.Meta(max_length=RANGES_MAX)]

SubtitleFormat = Literal["vtt", "srt"]

SubtitleFormats = Annotated[tuple[SubtitleFormat, ...], msgspec.Meta(min_length=1, max_length=2)]
"""Formats of stored subtitles; a repeated one is stored once."""

SUBTITLE_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt"}
"""Media types of subtitles by file extension."""


class SubtitleTrack(msgspec.Struct, frozen=True, kw_only=True):
    """Subtitles that a page offers in one language.

    Attributes:
        language: its tag, as the page gives it.
        automatic: made by speech recognition.
        name: of the language, as the page gives it.
    """

    language: str
    automatic: bool = False
    name: str | None = None


class SubtitleSource(SubtitleTrack, frozen=True, kw_only=True):
    """Source of the subtitles of one language: a URL, or the text itself.

    Attributes:
        url: of the file, or of the playlist that lists its segments.
        text: of subtitles that the page contains.
        playlist: the URL is that of an HLS playlist.
        translated: by a machine, from another language of the page.
    """

    url: str | None = None
    text: str | None = None
    playlist: bool = False
    translated: bool = False


class MissingSubtitles(msgspec.Struct, frozen=True, kw_only=True):
    """Requested subtitles that are not among the files.

    Attributes:
        language: as requested, or the page's if it offers them.
        reason: why they are missing.
    """

    language: str
    automatic: bool = False
    reason: str
