"""Finds links in pasted text, such as the text that apps copy when a post is shared.

The results are candidates, which `agents.platforms.urls.parse_link` validates. A candidate is never
a part of another link, and its host is never shortened.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from itertools import chain, islice

LINKS_MAX = 10
"""Candidates per text; share sheets have one or two."""

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_BARE_HOST = re.compile(r"(?<![A-Za-z0-9.-])[A-Za-z0-9.-]++(?=[/?#])")
_AUTHORITY = re.compile(r"(?:https?://)?[^/?#]*[/?#]", re.IGNORECASE)

_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">|", **{mark: mark for mark in "\"'`*|_~"}}
"""Closing marks by opening mark: brackets, quotation marks, Markdown, Slack's bar."""

_BEFORE_BARE = frozenset(_CLOSING) - set("_~")
_BEFORE_SCHEME = frozenset(_CLOSING) | set(")]}>.,;!:")
_URL_DELIMITERS = frozenset("/\\?&%")
"""In front of a link they belong to another link, which lacks its scheme."""

_WRAPPING_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
"""A scheme around a link, as in ``view-source:https://…``."""

_SENTENCE_MARKS = frozenset(".,;:!?'\")]}>*|~`")
_URL_MARKS = frozenset("/?#@%.\\&=")
_TEXT_CATEGORIES = frozenset({"Lo", "So", "Po", "Ps", "Pe", "Pi", "Pf", "Pd"})
"""Unicode categories that end a link: letters without case (Chinese, Japanese, Arabic, …), emoji,
punctuation. Letters with case do not: ``/@café`` is no link to ``/@caf``."""


def find_links(text: str, known_hosts: Collection[str]) -> Iterator[str]:
    """Yield candidate links of a text in order, at most `LINKS_MAX`.

    A link without a scheme must be on one of `known_hosts`, and is found only in a text without any
    link with a scheme: after a line break it may be the rest of another host. A link that is
    directly followed by text is yielded twice, with and without that text.
    """
    if re.match(r"-\S", text):  # an option of a command, not a line of a list
        return
    hosts = () if _SCHEME.search(text) else known_hosts
    found = (_word_links(word, hosts, first=not index) for index, word in enumerate(text.split()))
    yield from islice(chain.from_iterable(found), LINKS_MAX)


def _word_links(word: str, known_hosts: Collection[str], *, first: bool) -> Iterator[str]:
    """Yield the links of a text without white space; `first`: it is the first word of the text."""
    position = 0
    while (start := _find_start(word, position, known_hosts, first=first)) is not None:
        link = _until_closing_mark(word, start)
        position = start + len(link)
        yield _without_marks(link)
        if (cut := _before_text(link)) is not None:
            yield _without_marks(cut)


def _find_start(word: str, index: int, known_hosts: Collection[str], *, first: bool) -> int | None:
    if known_hosts:
        for host in _BARE_HOST.finditer(word, index):
            before = _visible(word[index : host.start()])
            if host[0].lower() in known_hosts and (not before or before[-1] in _BEFORE_BARE):
                return host.start()
        return None
    found = _SCHEME.search(word, index)
    if found is None:
        return None
    before = _visible(word[index : found.start()])
    wraps = first and not index and _WRAPPING_SCHEME.fullmatch(before) is not None
    # None ends the search in this word: the rest of it may be a part of the other link.
    return None if wraps or not _may_precede(before) else found.start()


def _may_precede(before: str) -> bool:
    if not _URL_DELIMITERS.isdisjoint(before):
        return False
    return not before or before[-1] in _BEFORE_SCHEME or not _normalizes_to_ascii(before[-1])


def _until_closing_mark(word: str, start: int) -> str:
    """Return the link up to the mark that closes the one in front of it, or to the word's end."""
    rest, mark = word[start:], word[start - 1] if start else ""
    if mark and mark in "_~":  # a link may have them inside
        return rest.rstrip(mark)
    ends = [end for closing in _CLOSING.get(mark, "") if (end := rest.find(closing)) >= 0]
    return rest[: min(ends, default=len(rest))]


def _without_marks(link: str) -> str:
    """Return a link without the punctuation of the sentence around it.

    Two dots are kept: they mark a shortened link, which must not pass as a whole one.
    """
    end = len(link)
    while end and (link[end - 1] in _SENTENCE_MARKS or _is_invisible(link[end - 1])):
        end -= 1
    return link if ".." in link[end:] else link[:end]


def _before_text(link: str) -> str | None:
    """Return a link without the text that directly follows it, None when no text does."""
    authority = _AUTHORITY.match(link)
    if authority is None or not authority[0].isascii():
        return None
    path = link[authority.end() :]
    end = next((index for index, each in enumerate(path) if not each.isascii()), None)
    if end is None or not _starts_with_text(path[end:]):
        return None
    return link[: authority.end() + end]


def _starts_with_text(rest: str) -> bool:
    if not _is_invisible(rest[0]):
        category = unicodedata.category(rest[0])
        return category in _TEXT_CATEGORIES and not _normalizes_to_ascii(rest[0])
    # An invisible character may also be inside a link, to permit a line break there.
    visible = _visible(rest)[:1]
    return visible in {"", "(", '"'} or visible.isupper() or not _normalizes_to_ascii(visible)


def _normalizes_to_ascii(character: str) -> bool:
    """Return whether a character is ASCII, or compatible with a URL character (full width, …)."""
    plain = unicodedata.normalize("NFKC", character)
    return any(each.isascii() and (each.isalnum() or each in _URL_MARKS) for each in plain) or (
        character.isascii()
    )


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf"


def _visible(text: str) -> str:
    return "".join(each for each in text if not _is_invisible(each))
