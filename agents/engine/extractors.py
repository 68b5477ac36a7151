"""Loader of the extractors that a job names: own classes, or yt-dlp's extractors by their keys.

``package.module:Class`` is a class. ``yt-dlp:Streamable`` and ``yt-dlp:Vimeo,VimeoUser`` are
extractors by yt-dlp's keys; of several, the first one suitable for the URL reads it. They are
looked up in yt-dlp's lazy table, so that only the named ones are imported.
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
"""Pages followed per job, such as from an embedded player's page to its video's."""

UNKNOWN_SITE_URL = "https://no-site-at-all.invalid/no/such/page-0"
"""URL that only a generic extractor accepts (RFC 2606: the host cannot exist)."""

_REFERENCE_TYPES = frozenset({"url", "url_transparent"})
_TARGET_KEYS = frozenset({"_type", "url", "id", "extractor", "extractor_key", "ie_key"})


class UnknownExtractorError(LookupError):
    """yt-dlp has no such extractor, or it is not allowed."""


def load_extractor(name: str) -> Any:
    """Return the factory of a job's extractor, with all of its modules imported.

    The factory, not this function, raises `UnknownExtractorError` for a name that yt-dlp does not
    know, so that preloading continues with the next name.

    Raises:
        ImportError: there is no such module.
        AttributeError: the module has no such class.
        TypeError: the class is not an extractor class of yt-dlp.
    """
    module, _, kind = name.partition(":")
    if module == YT_DLP:
        return _chain_factory(kind.split(","))
    return _checked(getattr(importlib.import_module(module), kind), name)


def _chain_factory(names: list[str]) -> Any:
    for name in names:
        with contextlib.suppress(UnknownExtractorError):
            _load_by_key(name)
    return lambda: ExtractorChain([_load_by_key(name)() for name in names])


class ExtractorChain:
    """Several extractors as one: the first that is suitable for a URL reads it.

    References to other pages are followed, at most `HOPS_MAX`, while an extractor of the chain is
    suitable for the target.
    """

    def __init__(self, extractors: list[Any]) -> None:
        self.extractors = extractors

    def ie_key(self) -> str:
        """Return the key for yt-dlp's registry of extractors."""
        return "+".join(each.ie_key() for each in self.extractors)

    def set_downloader(self, downloader: Any) -> None:
        for each in self.extractors:
            each.set_downloader(downloader)

    def extract(self, url: str) -> Any:
        """Return the info dictionary of a URL.

        Raises:
            UnsupportedError: no extractor of the chain is suitable.
            ExtractorError: of the extractor that read it.
        """
        reader = self._find(url)
        if reader is None:
            raise UnsupportedError(url)
        found = reader.extract(url)
        for _ in range(HOPS_MAX):
            reader = self._find(_target(found))
            if reader is None:
                break
            found = _merged(found, reader.extract(found["url"]))
        return found

    def _find(self, url: str | None) -> Any:
        return next((each for each in self.extractors if url and each.suitable(url)), None)


def repeat_initialization(extractor: Any) -> None:
    """Make the next job of an extractor initialize it again: its cookies are kept for one job."""
    for each in getattr(extractor, "extractors", (extractor,)):
        each._ready = False  # noqa: SLF001 - yt-dlp has no public way to do this


class ExtractorNamesIE(InfoExtractor):
    """Validates names of yt-dlp's extractors, so that only engine processes import yt-dlp.

    Its URL is ``names:`` and the names, separated by commas.
    """

    _VALID_URL = r"names:(?P<id>.*)"

    def _real_extract(self, url: str) -> dict[str, Any]:
        names = unquote(url.partition(":")[2]).split(",")
        return {"problems": {name: why for name in names if (why := name_problem(name))}}


def name_problem(name: str) -> str | None:
    """Return why an extractor's name is rejected, None when it is usable."""
    try:
        _load_by_key(name)
    except UnknownExtractorError as error:
        return str(error)
    return None


def _load_by_key(name: str) -> Any:
    try:
        found = get_info_extractor(name)
    except KeyError:
        raise UnknownExtractorError(_unknown_message(name)) from None
    # The lazy table holds a stand-in; `real_class` imports the extractor itself.
    kind = _checked(getattr(found, "real_class", found), name)
    if kind.suitable(UNKNOWN_SITE_URL):
        raise UnknownExtractorError(f"{name} reads pages of any site, which is never allowed")
    if not kind._VALID_URL:  # noqa: SLF001 - yt-dlp has no public test for it
        raise UnknownExtractorError(
            f"{name} has no URL pattern: it is called by other extractors only"
        )
    return kind


def _unknown_message(name: str) -> str:
    known = [kind.ie_key() for kind in gen_extractor_classes()]
    similar = _similar_names(name, (each for each in known if each != "Generic"))
    hint = f"; similar ones: {', '.join(similar)}" if similar else ""
    return f"yt-dlp has no extractor named {name}{hint}"


def _similar_names(name: str, known: Iterable[str]) -> list[str]:
    by_folded = {each.casefold(): each for each in known}
    return [by_folded[each] for each in difflib.get_close_matches(name.casefold(), by_folded)]


def _checked(found: Any, name: str) -> Any:
    if not (isinstance(found, type) and issubclass(found, InfoExtractor)):
        raise TypeError(f"{name} is not an extractor class of yt-dlp")
    return found


def _target(found: Any) -> str | None:
    is_reference = isinstance(found, dict) and found.get("_type") in _REFERENCE_TYPES
    url = found.get("url") if is_reference else None
    return url if isinstance(url, str) else None


def _merged(page: dict[str, Any], found: Any) -> Any:
    """Return the target's result; with ``url_transparent`` the page's own values override it."""
    if page["_type"] != "url_transparent" or not isinstance(found, dict):
        return found
    known = {name: value for name, value in page.items() if value is not None}
    return {**found, **{name: known[name] for name in known.keys() - _TARGET_KEYS}}
