"""Links in a pasted text, such as applications put on the clipboard when a post is shared.

What is found may be a link; `agents.platforms.urls.parse_link` decides. A link is never taken out
of another one, and its host is never shortened: what stands in the text is what is read.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from itertools import chain, islice

LINKS_MAX = 10
"""Links of one text that are read. Share sheets have one or two."""

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_BARE_HOST = re.compile(r"(?<![A-Za-z0-9.-])[A-Za-z0-9.-]++(?=[/?#])")
_AUTHORITY = re.compile(r"(?:https?://)?[^/?#]*[/?#]", re.IGNORECASE)

_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">|", **{mark: mark for mark in "\"'`*|_~"}}
"""What ends a link that follows such a mark: brackets, quotation marks, Markdown, Slack's bar."""

_BEFORE_BARE = frozenset(_CLOSING) - set("_~")
_BEFORE_SCHEME = frozenset(_CLOSING) | set(")]}>.,;!:")
_NO_TEXT = frozenset("/\\?&%")
"""In front of a link these are of another one, which lacks its scheme."""

_WRAPPING_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
"""As in ``view-source:https://…``."""

_SENTENCE_MARKS = frozenset(".,;:!?'\")]}>*|~`")
_URL_MARKS = frozenset("/?#@%.\\&=")
_TEXT_CATEGORIES = frozenset({"Lo", "So", "Po", "Ps", "Pe", "Pi", "Pf", "Pd"})
"""Letters without case (Chinese, Japanese, Arabic, …), emoji, punctuation. Letters with case are
not among them: ``/@café`` is no link to ``/@caf``."""


def find_links(text: str, known_hosts: Collection[str]) -> Iterator[str]:
    """Iterate over what may be links in a text, in order.

    A link without its scheme must be on one of `known_hosts`, and is found only in a text that has
    none with a scheme: behind a line break it may be the rest of another host. A link that is
    directly followed by text comes twice, with and without what follows.
    """
    if re.match(r"-\S", text):  # an option of a command, not a line of a list
        return
    hosts = () if _SCHEME.search(text) else known_hosts
    found = (_links_of(word, hosts, alone=not place) for place, word in enumerate(text.split()))
    yield from islice(chain.from_iterable(found), LINKS_MAX)


def _links_of(word: str, known_hosts: Collection[str], *, alone: bool) -> Iterator[str]:
    """Iterate over the links of a text without white space; the text begins with it if `alone`."""
    place = 0
    while (start := _start(word, place, known_hosts, alone=alone)) is not None:
        link = _enclosed(word, start)
        place = start + len(link)
        yield _without_marks(link)
        if (cut := _before_text(link)) is not None:
            yield _without_marks(cut)


def _start(word: str, place: int, known_hosts: Collection[str], *, alone: bool) -> int | None:
    if known_hosts:
        for host in _BARE_HOST.finditer(word, place):
            before = _visible(word[place : host.start()])
            if host[0].lower() in known_hosts and (not before or before[-1] in _BEFORE_BARE):
                return host.start()
        return None
    found = _SCHEME.search(word, place)
    if found is None:
        return None
    before = _visible(word[place : found.start()])
    wraps = alone and not place and _WRAPPING_SCHEME.fullmatch(before) is not None
    # What follows in the word is left alone too: it may be a part of the other link.
    return None if wraps or not _may_precede(before) else found.start()


def _may_precede(before: str) -> bool:
    if not _NO_TEXT.isdisjoint(before):
        return False
    return not before or before[-1] in _BEFORE_SCHEME or not _normalizes_to_ascii(before[-1])


def _enclosed(word: str, start: int) -> str:
    """Return the link up to what closes the mark in front of it, or to the end of the word."""
    rest, mark = word[start:], word[start - 1] if start else ""
    if mark and mark in "_~":  # a link may have them inside
        return rest.rstrip(mark)
    ends = [place for closing in _CLOSING.get(mark, "") if (place := rest.find(closing)) >= 0]
    return rest[: min(ends, default=len(rest))]


def _without_marks(link: str) -> str:
    """Return a link without the marks of the sentence around it.

    Two dots are no full stop: they stand for the rest of a link that was shortened.
    """
    end = len(link)
    while end and (link[end - 1] in _SENTENCE_MARKS or _is_invisible(link[end - 1])):
        end -= 1
    return link if ".." in link[end:] else link[:end]


def _before_text(link: str) -> str | None:
    """Return the part of a link in front of text that directly follows; None when none does."""
    authority = _AUTHORITY.match(link)
    if authority is None or not authority[0].isascii():
        return None
    path = link[authority.end() :]
    place = next((place for place, each in enumerate(path) if not each.isascii()), None)
    if place is None or not _begins_text(path[place:]):
        return None
    return link[: authority.end() + place]


def _begins_text(rest: str) -> bool:
    if not _is_invisible(rest[0]):
        category = unicodedata.category(rest[0])
        return category in _TEXT_CATEGORIES and not _normalizes_to_ascii(rest[0])
    # It may also stand inside a link, where that may be broken between two lines.
    shown = _visible(rest)[:1]
    return shown in {"", "(", '"'} or shown.isupper() or not _normalizes_to_ascii(shown)


def _normalizes_to_ascii(character: str) -> bool:
    """Return whether a character is one of a URL, or may be taken for one (full width, …)."""
    plain = unicodedata.normalize("NFKC", character)
    return any(each.isascii() and (each.isalnum() or each in _URL_MARKS) for each in plain) or (
        character.isascii()
    )


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf"


def _visible(text: str) -> str:
    return "".join(each for each in text if not _is_invisible(each))
