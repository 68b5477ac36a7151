"""The text of a cookie file: what can be read of it, and the text with cookies set anew. Pure.

Values are secrets: no message holds any.
"""

import codecs
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from agents.accounts.json_export import read_export
from agents.accounts.netscape import (
    HEADER,
    PADDING,
    Line,
    fits,
    format_cookie,
    format_line,
    parse_line,
)
from schemas.video import Cookie

COOKIES_MAX = 500
"""A file with so many cookies gets no new ones: a page could set other names for ever. Browsers
keep 150 to 180 per site (RFC 6265 asks for 50)."""

LINES_MAX = 20_000
"""Of a file; a browser with every cookie it keeps has about 3,000."""

TOLD_MAX = 10
"""Lines, or ranges of them, and reasons that one message names."""

Key = tuple[str, str, str]
"""Domain, path and name: what makes two cookies the same one (RFC 6265, section 5.3)."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NotACookieFileError(ValueError):
    """A text has no cookie; says what is wrong, without showing it."""


class CookieText(msgspec.Struct, frozen=True):
    """What a cookie file says.

    Attributes:
        lines: all of it, remarks too.
        unit: what a line is called in messages.
    """

    lines: tuple[Line, ...]
    unit: str = "line"

    @property
    def cookies(self) -> tuple[Cookie, ...]:
        """The cookies, those that are over included. Secrets."""
        return tuple(line.cookie for line in self.lines if line.cookie is not None)


def decode_text(data: bytes) -> str:
    """Return the text of a file; bytes that are no text become U+FFFD, and NULs are left out.

    Windows' shells write UTF-16. A file that was cut by a crash, or copied from a buffer, has NULs
    in front or behind.
    """
    if data.startswith(_UTF_16):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8-sig", "replace")
    return text.replace("\0", "")


def parse_text(text: str) -> CookieText:
    """Return what a file says: lines in Netscape's format, or an export as JSON.

    Raises:
        NotACookieFileError: it has more than `LINES_MAX` lines.
    """
    export = read_export(text) if _looks_like_json(text) else None
    if export is not None:
        lines, unit = export, "entry"
    else:
        texts = _lines(text)
        _check_count(len(texts))
        lines = [parse_line(number, each) for number, each in enumerate(texts, start=1)]
        unit = "line"
    _check_count(len(lines))
    return CookieText(tuple(lines), unit)


def read_cookies(text: str) -> CookieText:
    """Return what a file with cookies says.

    Raises:
        NotACookieFileError: it has no cookie that can be read.
    """
    parsed = parse_text(text)
    if parsed.cookies:
        return parsed
    odd = next((line for line in parsed.lines if line.oddity), None)
    reason = (
        "there is no cookie in it" if odd is None else f"{parsed.unit} {odd.number} {odd.oddity}"
    )
    if parsed.unit == "line" and _looks_like_json(text):
        reason += "; it begins as JSON and is not all of it"
    raise NotACookieFileError(reason)


def oddities(parsed: CookieText) -> str | None:
    """Return which lines are not in the format, by number; None when all are."""
    told = [
        _told(parsed, "left out", [each for each in parsed.lines if each.cookie is None]),
        _told(parsed, "read all the same", [each for each in parsed.lines if each.cookie]),
    ]
    return "; ".join(each for each in told if each) or None


def key_of(cookie: Cookie) -> Key:
    """Return what a cookie is known by."""
    return cookie.domain, cookie.path, cookie.name


def unexpired(cookies: Iterable[Cookie], now: float) -> tuple[Cookie, ...]:
    """Return the cookies that are not over at an epoch second."""
    return tuple(each for each in cookies if not _is_over(each, now))


def is_for(cookies: Iterable[Cookie], hosts: Collection[str]) -> bool:
    """Return whether one of the cookies is sent to one of these hosts."""
    domains = {each.domain.lower().lstrip(".") for each in cookies}
    return any(
        host == domain or host.endswith(f".{domain}")
        for host in hosts
        for domain in domains
        if "." in domain
    )


def renewed(text: str, changes: Mapping[Key, Cookie], now: float) -> str:
    """Return a file with cookies set anew, new ones behind it, and those that are over left out.

    Remarks and lines that all tools read stay as they are; other lines are written in the format,
    or as remarks when they cannot be read. Without a change the text stays as it is.

    Raises:
        NotACookieFileError: it has more than `LINES_MAX` lines.
    """
    left = {key: cookie for key, cookie in changes.items() if fits(cookie)}
    before = parse_text(text).lines
    kept = [each for each in (_renewed(line, left, now) for line in before) if each is not None]
    room = max(0, COOKIES_MAX - sum(line.cookie is not None for line in kept))
    new = unexpired(left.values(), now)[:room]
    if not new and tuple(kept) == before:
        return text
    lines = [*map(format_line, kept), *map(format_cookie, new)]
    if not lines or not lines[0].startswith((HEADER, "# HTTP Cookie File")):
        lines.insert(0, HEADER)
    return "".join(f"{line}\n" for line in lines)


def _renewed(line: Line, left: dict[Key, Cookie], now: float) -> Line | None:
    """Return what becomes of a line, and take its change out of those that are left."""
    if line.cookie is None:
        return line
    new = left.pop(key_of(line.cookie), None)
    if _is_over(new or line.cookie, now):
        return None
    if new is None or format_cookie(new) == format_cookie(line.cookie):
        return line
    return msgspec.structs.replace(line, cookie=new, is_exact=False)


def _lines(text: str) -> list[str]:
    """Return the lines; `str.splitlines` would also part them at characters within values."""
    if not text:
        return []
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def _looks_like_json(text: str) -> bool:
    return text.lstrip(f"{PADDING}\r\n")[:1] in {"[", "{"}


def _check_count(count: int) -> None:
    if count > LINES_MAX:
        raise NotACookieFileError(f"it has more than {LINES_MAX} lines")


def _told(parsed: CookieText, what: str, lines: Iterable[Line]) -> str | None:
    by_reason: dict[str, list[int]] = {}
    for line in lines:
        if line.oddity is not None:
            by_reason.setdefault(line.oddity, []).append(line.number)
    if not by_reason:
        return None
    reasons = [
        f"{parsed.unit} {_first(_ranges(numbers))} {reason}"
        for reason, numbers in by_reason.items()
    ]
    return f"{what}: {_first(reasons)}"


def _first(texts: Iterable[str]) -> str:
    """Return the first texts of a list in one line."""
    listed = list(texts)
    more = ["…"] if len(listed) > TOLD_MAX else []
    return ", ".join([*listed[:TOLD_MAX], *more])


def _ranges(numbers: list[int]) -> Iterator[str]:
    """Yield rising numbers in short: ``3``, ``5-9``."""
    begin = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            first, last = numbers[begin], numbers[end - 1]
            yield str(last) if first == last else f"{first}-{last}"
            begin = end


def _is_over(cookie: Cookie, now: float) -> bool:
    return cookie.expires_at is not None and cookie.expires_at <= now
