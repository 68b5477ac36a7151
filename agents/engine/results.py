"""Serialization of an extractor's result: bounded JSON, and cookies to and from a cookie jar."""

import math
from collections.abc import Iterable, Iterator, Mapping
from http.cookiejar import Cookie as JarCookie
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlsplit

import msgspec
import orjson

from schemas.video import Cookie

RESULT_BYTES_MAX = 1_000_000
"""A video's result has 6 to 10 KB; for subtitles see `agents.engine.subtitles`."""

DEPTH_MAX = 40
COOKIES_MAX = 64

COOKIE_CHARACTERS_MAX = 4_096  # of name, value, domain and path; RFC 6265, section 6.1

COOKIES_BYTES_MAX = 10_000
"""All cookies of a job as JSON; those of an account take 3 to 8 KB. Each file of a post repeats
them: a hundred pictures still fit one record of a topic, also as base64 within another record."""

EXPIRY_MAX = 253_402_300_799
"""Epoch second; latest expiry of a cookie: the end of the year 9999."""

_INT_MAX = 2**63 - 1
_KEPT_PRIVATE_KEYS = frozenset({"_type"})


class ResultTooLargeError(Exception):
    """The extractor's result exceeds `RESULT_BYTES_MAX`."""


class NotAResultError(Exception):
    """The extractor returned something other than the description of a post or of a list."""


def to_json(result: Any) -> bytes:
    """Return the extractor's info dictionary as JSON, without private keys and unknown types.

    Raises:
        NotAResultError: the result is no dictionary.
        ResultTooLargeError: the JSON exceeds `RESULT_BYTES_MAX`.
    """
    if not isinstance(result, dict):
        raise NotAResultError(f"the extractor returned {type(result).__name__}, not a dictionary")
    raw = orjson.dumps(_to_plain(result, 0))
    if len(raw) > RESULT_BYTES_MAX:
        raise ResultTooLargeError(f"{len(raw)} bytes of JSON; the maximum is {RESULT_BYTES_MAX}")
    return raw


def _to_plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _valid_utf8(value)
    if value is None or isinstance(value, bool | int | float):
        return _number(value)
    if depth >= DEPTH_MAX:
        return None
    if isinstance(value, Mapping):
        return _mapping_to_plain(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_plain(item, depth + 1) for item in value]
    return None


def _mapping_to_plain(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    return {
        # A manifest's segments: the list of a film has megabytes per format, and the download reads
        # the manifest itself. Whether there are any is kept.
        _valid_utf8(str(name)): bool(item) if name == "fragments" else _to_plain(item, depth + 1)
        for name, item in value.items()
        if not str(name).startswith("_") or name in _KEPT_PRIVATE_KEYS
    }


def _valid_utf8(text: str) -> str:
    # Pages can contain lone surrogates, which UTF-8 cannot encode.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _number(value: float | None) -> float | str | None:
    if isinstance(value, int) and abs(value) > _INT_MAX:
        return _digits(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _digits(value: int) -> str | None:
    try:
        return str(value)
    except ValueError:
        return None


def cookies_for(url: str, jar: CookieJar) -> tuple[Cookie, ...]:
    """Return the jar's cookies for the URL's host, within the limits of size and number."""
    host = urlsplit(url).hostname or ""
    matching = (_from_jar(cookie) for cookie in jar if _domain_matches(cookie.domain, host))
    short = (cookie for cookie in matching if _characters(cookie) <= COOKIE_CHARACTERS_MAX)
    return tuple(each for each, _ in zip(_within_budget(short), range(COOKIES_MAX), strict=False))


def _characters(cookie: Cookie) -> int:
    return len(cookie.name) + len(cookie.value) + len(cookie.domain) + len(cookie.path)


def _within_budget(cookies: Iterable[Cookie]) -> Iterator[Cookie]:
    """Yield cookies up to `COOKIES_BYTES_MAX`, skipping those over the bytes left."""
    bytes_left = COOKIES_BYTES_MAX
    for cookie in cookies:
        size = len(msgspec.json.encode(cookie))
        if size <= bytes_left:
            bytes_left -= size
            yield cookie


def add_cookies(jar: CookieJar, cookies: tuple[Cookie, ...]) -> None:
    for cookie in cookies:
        jar.set_cookie(_to_jar(cookie))


def _domain_matches(domain: str, host: str) -> bool:
    bare = domain.lstrip(".").lower()
    return host == bare or host.endswith(f".{bare}")


def _from_jar(cookie: JarCookie) -> Cookie:
    return Cookie(
        name=_valid_utf8(cookie.name),
        value=_valid_utf8(cookie.value or ""),
        domain=_valid_utf8(cookie.domain),
        path=_valid_utf8(cookie.path),
        secure=cookie.secure,
        expires_at=_expiry(cookie.expires),
    )


def _expiry(second: int | None) -> float | None:
    # A page may set a second beyond the range of a float.
    return None if second is None else float(max(0, min(second, EXPIRY_MAX)))


def _to_jar(cookie: Cookie) -> JarCookie:
    return JarCookie(
        version=0,
        name=cookie.name,
        value=cookie.value,
        port=None,
        port_specified=False,
        domain=cookie.domain,
        domain_specified=True,
        domain_initial_dot=cookie.domain.startswith("."),
        path=cookie.path,
        path_specified=True,
        secure=cookie.secure,
        expires=None if cookie.expires_at is None else int(min(cookie.expires_at, EXPIRY_MAX)),
        discard=cookie.expires_at is None,
        comment=None,
        comment_url=None,
        rest={},
    )
