"""Chooses the subtitles that satisfy a request. Pure rules, no I/O."""

from collections.abc import Sequence
from itertools import islice

import msgspec

from schemas.request import Options
from schemas.subtitles import ALL, MissingSubtitles, SubtitleSource

SUBTITLES_MAX = 50
"""Languages per request: each is a download, and a file per format."""

LANGUAGES_NAMED_MAX = 10
"""Languages that a reason names."""


_CODES = """
ara:ar ben:bn bul:bg cat:ca ces:cs cze:cs chi:zh cmn:zh dan:da deu:de dut:nl ell:el eng:en est:et
fas:fa fin:fi fra:fr fre:fr ger:de gre:el heb:he hin:hi hrv:hr hun:hu ind:id ita:it jpn:ja khm:km
kor:ko lav:lv lit:lt may:ms msa:ms mya:my nld:nl nob:nb nor:no per:fa pol:pl por:pt ron:ro rum:ro
rus:ru slk:sk slo:sk slv:sl spa:es srp:sr swe:sv tam:ta tel:te tha:th tur:tr ukr:uk urd:ur vie:vi
zho:zh zsm:ms
"""
_SHORT_CODES = {each[:3]: each[4:] for each in _CODES.split()}
"""Codes of two letters (ISO 639-1) by those of three (639-2, 639-3), which TikTok uses."""


class SubtitleChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The sources to fetch, and the requested languages without one."""

    chosen: tuple[SubtitleSource, ...] = ()
    missing: tuple[MissingSubtitles, ...] = ()


def choose_subtitles(offered: Sequence[SubtitleSource], options: Options) -> SubtitleChoice:
    """Return the subtitles of the requested languages.

    Those by speech recognition only count where the language has no others, and translations by
    machines where exactly their language is requested.
    """
    chosen: list[SubtitleSource] = []
    missing: list[MissingSubtitles] = []
    usable = _usable(offered, automatic=options.automatic_subtitles)
    for wanted in dict.fromkeys(each.replace("_", "-") for each in options.subtitles):
        found = [each for each in usable if _matches(wanted, each)]
        chosen += (each for each in found if each not in chosen)
        if not found:
            missing.append(MissingSubtitles(language=wanted, reason=_reason(wanted, offered)))
    reason = f"the request has more than {SUBTITLES_MAX} languages"
    missing += (
        MissingSubtitles(language=each.language, automatic=each.automatic, reason=reason)
        for each in chosen[SUBTITLES_MAX:]
    )
    return SubtitleChoice(chosen=tuple(chosen[:SUBTITLES_MAX]), missing=tuple(missing))


def not_read(options: Options) -> SubtitleChoice:
    """Return the choice for a page that was read without its subtitles."""
    reason = "the page could not be read again for subtitles"
    languages = dict.fromkeys(options.subtitles)
    missing = tuple(MissingSubtitles(language=each, reason=reason) for each in languages)
    return SubtitleChoice(missing=missing)


def _usable(offered: Sequence[SubtitleSource], *, automatic: bool) -> list[SubtitleSource]:
    authored = [each for each in offered if not each.automatic]
    if not automatic:
        return authored
    languages = {_primary(each.language) for each in authored}
    others = (each for each in offered if each.automatic)
    return authored + [each for each in others if _primary(each.language) not in languages]


def _primary(language: str) -> str:
    return _normal(language).partition("-")[0]


def _normal(language: str) -> str:
    """Return a tag for comparison: in lower case, with a code of two letters where there is one."""
    primary, dash, rest = language.lower().partition("-")
    return f"{_SHORT_CODES.get(primary, primary)}{dash}{rest}"


def _matches(wanted: str, source: SubtitleSource) -> bool:
    language, sought = _normal(source.language), _normal(wanted)
    if source.translated:
        return language == sought
    return sought in (ALL, language) or language.startswith(f"{sought}-")


def _reason(wanted: str, offered: Sequence[SubtitleSource]) -> str:
    if any(_matches(wanted, each) for each in offered):
        return "only by speech recognition; automatic_subtitles accepts them"
    languages = dict.fromkeys(each.language for each in offered if not each.translated)
    if not languages:
        return "the post has no subtitles"
    named = ", ".join(islice(languages, LANGUAGES_NAMED_MAX))
    more = ", …" if len(languages) > LANGUAGES_NAMED_MAX else ""
    return f"the post has no subtitles in this language; it has {named}{more}"
