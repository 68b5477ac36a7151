"""Cookies of accounts, from the files in Netscape's format that browsers' extensions write.

The format: https://curl.se/docs/http-cookies.html#cookie-file-format. Values are secrets: no
message holds any.
"""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from agents.authentication.interface import Account
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie

FIELDS = 7
"""Domain, subdomains too, path, secure, expiry, name, value; separated by tabs."""

HTTP_ONLY = "#HttpOnly_"
"""In front of the domain of cookies that scripts cannot see. Other lines with # are remarks."""

BYTES_MAX = 1_000_000
"""Of a file; one with every cookie of a browser has about 200 KB."""

Stamp = tuple[int, int]
"""Time of the last change (ns) and size."""


class FileAccount(msgspec.Struct, frozen=True):
    """The account of a cookie file."""

    name: str
    cookies: tuple[Cookie, ...]

    def renew(self, cookies: tuple[Cookie, ...]) -> None:
        """Leave the file as it is."""


class CookieFiles:
    """An `Authenticator`: one account for each platform that has a cookie file.

    A file is parsed again when it has changed.

    Args:
        files: a file for each platform that has one.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self._known: dict[str, tuple[Stamp, tuple[Cookie, ...]]] = {}

    def accounts(self, platform: str) -> tuple[str, ...]:
        """Return the name of the platform's file, none without one."""
        return (self._files[platform].stem,) if platform in self._files else ()

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> FileAccount | None:
        """Return the account of the file.

        Raises:
            ClipmillError: ``system.config``; the file cannot be read, or is no cookie file.
        """
        for name in self.accounts(platform):
            if name not in avoid:
                return FileAccount(name, await asyncio.to_thread(self.read, platform))
        return None

    def tell(self, account: Account, code: ErrorCode | None) -> None:
        """Take no note: there is no other account to choose."""

    def read(self, platform: str) -> tuple[Cookie, ...]:
        """Return the cookies for a platform, none when no file is set. Blocks.

        Raises:
            ClipmillError: ``system.config``; the file cannot be read, or is no cookie file.
        """
        path = self._files.get(platform)
        if path is None:
            return ()
        try:
            found = path.stat()
            stamp = found.st_mtime_ns, found.st_size
            known = self._known.get(platform)
            if known is None or known[0] != stamp:
                known = self._known[platform] = stamp, _load(path, found.st_size)
        except (OSError, UnicodeDecodeError) as error:
            raise _unusable(path, _reason(error)) from None
        return known[1]


def _load(path: Path, size: int) -> tuple[Cookie, ...]:
    if size > BYTES_MAX:
        raise _unusable(path, f"it has {size} bytes; {BYTES_MAX} is the most")
    lines = path.read_text(encoding="utf-8").splitlines()
    cookies = [_parse(line, number, path) for number, line in enumerate(lines, start=1)]
    found = tuple(cookie for cookie in cookies if cookie is not None)
    if not found:
        raise _unusable(path, "there is no cookie in it")
    return found


def _parse(line: str, number: int, path: Path) -> Cookie | None:
    text = line.removeprefix(HTTP_ONLY)
    if not text.strip() or text.startswith("#"):
        return None
    fields = text.split("\t")
    if len(fields) != FIELDS:
        raise _unusable(path, f"line {number} has {len(fields)} fields, not {FIELDS}")
    domain, _, where, secure, _, name, value = fields
    return Cookie(
        name=name, value=value, domain=domain, path=where or "/", secure=secure.upper() == "TRUE"
    )


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else "not UTF-8"


def _unusable(path: Path, reason: str) -> ClipmillError:
    return ClipmillError(
        ErrorCode.SYSTEM_CONFIG,
        f"the cookie file {path} cannot be used: {reason};"
        " export it anew in Netscape's format, or correct auth.cookie_files",
    )
