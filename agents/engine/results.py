"""What an extractor found, as JSON and cookies."""

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
"""A video's result is 6 to 10 KB; with every subtitle of a long one some hundred."""

DEPTH_MAX = 40
COOKIES_MAX = 64

COOKIE_CHARACTERS_MAX = 4_096  # of name, value, domain and path; RFC 6265, section 6.1

COOKIES_BYTES_MAX = 10_000
"""Of all cookies of a job as JSON. Those of an account take 3 to 8 KB. Each file of a post repeats
them: those of a hundred pictures still fit a record on a topic, also as base64 in another one."""

EXPIRY_MAX = 253_402_300_799
"""Epoch second of the last of the year 9999: a cookie's end is at most that."""

_INT_MAX = 2**63 - 1
_KEPT_PRIVATE_KEYS = frozenset({"_type"})


class ResultTooLargeError(Exception):
    """The extractor's result has more bytes than a result may have."""


class NotAResultError(Exception):
    """The extractor returned something other than the description of a post or of a list."""


def to_json(result: Any) -> bytes:
    """Return the extractor's dictionary as JSON, without private keys and unknown types.

    Raises:
        NotAResultError: it is no dictionary.
        ResultTooLargeError: it is larger than `RESULT_BYTES_MAX`.
    """
    if not isinstance(result, dict):
        raise NotAResultError(f"the extractor returned {type(result).__name__}, not a dictionary")
    raw = orjson.dumps(_plain(result, 0))
    if len(raw) > RESULT_BYTES_MAX:
        raise ResultTooLargeError(f"{len(raw)} bytes of JSON; {RESULT_BYTES_MAX} is the most")
    return raw


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _valid(value)
    if value is None or isinstance(value, bool | int | float):
        return _number(value)
    if depth >= DEPTH_MAX:
        return None
    if isinstance(value, Mapping):
        return _plain_mapping(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return None


def _plain_mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    return {
        _valid(str(name)): _plain(item, depth + 1)
        for name, item in value.items()
        if not str(name).startswith("_") or name in _KEPT_PRIVATE_KEYS
    }


def _valid(text: str) -> str:
    # A page can hold half of a surrogate pair, which no UTF-8 can.
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
    """Return the cookies of the jar that belong to the URL's site."""
    host = urlsplit(url).hostname or ""
    found = (_from_jar(cookie) for cookie in jar if _belongs(cookie.domain, host))
    short = (cookie for cookie in found if _characters(cookie) <= COOKIE_CHARACTERS_MAX)
    return tuple(cookie for cookie, _ in zip(_fitting(short), range(COOKIES_MAX), strict=False))


def _characters(cookie: Cookie) -> int:
    return len(cookie.name) + len(cookie.value) + len(cookie.domain) + len(cookie.path)


def _fitting(cookies: Iterable[Cookie]) -> Iterator[Cookie]:
    """Yield the first ones that fit; one that does not leaves its room to the others."""
    room = COOKIES_BYTES_MAX
    for cookie in cookies:
        size = len(msgspec.json.encode(cookie))
        if size <= room:
            room -= size
            yield cookie


def put_cookies(jar: CookieJar, cookies: tuple[Cookie, ...]) -> None:
    """Add cookies to the jar."""
    for cookie in cookies:
        jar.set_cookie(_to_jar(cookie))


def _belongs(domain: str, host: str) -> bool:
    bare = domain.lstrip(".").lower()
    return host == bare or host.endswith(f".{bare}")


def _from_jar(cookie: JarCookie) -> Cookie:
    return Cookie(
        name=_valid(cookie.name),
        value=_valid(cookie.value or ""),
        domain=_valid(cookie.domain),
        path=_valid(cookie.path),
        secure=cookie.secure,
        expires_at=_expiry(cookie.expires),
    )


def _expiry(second: int | None) -> float | None:
    # A page may name a second that no float can hold.
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
