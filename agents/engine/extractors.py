"""Finds the extractors that a job names: a class of ours, or extractors of yt-dlp by their names.

``package.module:Class`` is a class. ``yt-dlp:Streamable`` and ``yt-dlp:Vimeo,VimeoUser`` are
extractors by the names that yt-dlp gives them; of several the first one that is suitable for the
URL reads it. They are taken from yt-dlp's lazy table, so that none but these is imported.
"""

import contextlib
import difflib
import importlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from yt_dlp.extractor import gen_extractor_classes, get_info_extractor
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import UnsupportedError

from agents.engine.interface import YT_DLP

HOPS_MAX = 4
"""Pages that lead to another page, such as an embedded player's to its video's."""

STRANGE_URL = "https://no-site-at-all.invalid/no/such/page-0"
"""A page that only an extractor of everything is suitable for (RFC 2606: there is no such host)."""

_LEADS_ON = frozenset({"url", "url_transparent"})
_OF_THE_PAGE_BEHIND = frozenset({"_type", "url", "id", "extractor", "extractor_key", "ie_key"})


class UnknownExtractorError(LookupError):
    """There is no such extractor, or none that may be used."""


def load_extractor(name: str) -> Any:
    """Return what makes the extractor of a job, with everything imported that it needs.

    A name that yt-dlp does not know is `UnknownExtractorError` when the extractor is made, so that
    who only wants to import it beforehand goes on with the next.

    Raises:
        ImportError: there is no such module.
        AttributeError: there is no such class in it.
        TypeError: it is no extractor class of yt-dlp.
    """
    module, _, kind = name.partition(":")
    if module == YT_DLP:
        return _suitable(kind.split(","))
    return _checked(getattr(importlib.import_module(module), kind), name)


def _suitable(names: list[str]) -> Any:
    for name in names:
        with contextlib.suppress(UnknownExtractorError):
            _own_class(name)
    return lambda: Suitable([_own_class(name)() for name in names])


class Suitable:
    """Several extractors in the shape of one: the first that is suitable for a URL reads it.

    A page that leads to another one is followed while one of them is suitable for that too.
    """

    def __init__(self, extractors: list[Any]) -> None:
        self._extractors = extractors

    def ie_key(self) -> str:
        """Return the name by which yt-dlp keeps it."""
        return "+".join(each.ie_key() for each in self._extractors)

    def set_downloader(self, downloader: Any) -> None:
        """Tell all of them who makes their requests."""
        for each in self._extractors:
            each.set_downloader(downloader)

    def extract(self, url: str) -> Any:
        """Return what is behind a URL.

        Raises:
            UnsupportedError: none of them is suitable.
            ExtractorError: what the one that is says.
        """
        reader = self._find(url)
        if reader is None:
            raise UnsupportedError(url)
        found = reader.extract(url)
        for _ in range(HOPS_MAX):
            reader = self._find(_target(found))
            if reader is None:
                break
            found = _joined(found, reader.extract(found["url"]))
        return found

    def _find(self, url: str | None) -> Any:
        return next((each for each in self._extractors if url and each.suitable(url)), None)


class ExtractorNamesIE(InfoExtractor):
    """Tells what is wrong with names of yt-dlp's extractors, so that only the engine knows them.

    Its URL is ``names:`` and the names, with commas between them.
    """

    _VALID_URL = r"names:(?P<id>.*)"

    def _real_extract(self, url: str) -> dict[str, Any]:
        names = unquote(url.partition(":")[2]).split(",")
        return {"problems": {name: said for name in names if (said := problem_of(name))}}


def problem_of(name: str) -> str | None:
    """Return what is wrong with the name of an extractor, None when it can be used."""
    try:
        _own_class(name)
    except UnknownExtractorError as error:
        return str(error)
    return None


def _own_class(name: str) -> Any:
    try:
        found = get_info_extractor(name)
    except KeyError:
        raise UnknownExtractorError(_no_such(name)) from None
    # The lazy table's class stands for the real one, which is imported here.
    kind = _checked(getattr(found, "real_class", found), name)
    if kind.suitable(STRANGE_URL):
        raise UnknownExtractorError(f"{name} reads pages of any site, which is never allowed")
    if not kind._VALID_URL:  # noqa: SLF001 - yt-dlp has no other way to tell
        raise UnknownExtractorError(f"{name} reads no pages by themselves")
    return kind


def _no_such(name: str) -> str:
    known = [kind.ie_key() for kind in gen_extractor_classes()]
    close = _close(name, (each for each in known if each != "Generic"))
    hint = f"; similar ones: {', '.join(close)}" if close else ""
    return f"yt-dlp has no extractor named {name}{hint}"


def _close(name: str, known: Iterable[str]) -> list[str]:
    by_folded = {each.casefold(): each for each in known}
    return [by_folded[each] for each in difflib.get_close_matches(name.casefold(), by_folded)]


def _checked(found: Any, name: str) -> Any:
    if not (isinstance(found, type) and issubclass(found, InfoExtractor)):
        raise TypeError(f"{name} is not an extractor class of yt-dlp")
    return found


def _target(found: Any) -> str | None:
    leads = isinstance(found, dict) and found.get("_type") in _LEADS_ON
    url = found.get("url") if leads else None
    return url if isinstance(url, str) else None


def _joined(page: dict[str, Any], found: Any) -> Any:
    """Return what is behind a page, with what the page itself told when yt-dlp wants that."""
    if page["_type"] != "url_transparent" or not isinstance(found, dict):
        return found
    told = {name: value for name, value in page.items() if value is not None}
    return {**found, **{name: told[name] for name in told.keys() - _OF_THE_PAGE_BEHIND}}
