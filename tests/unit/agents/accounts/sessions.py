"""Cookie files and accounts for tests."""

from pathlib import Path

import msgspec

from agents.accounts.cookie_text import with_renewals
from schemas.video import Cookie

SECRET = "s3cret"
LATER = 4_000_000_000.0
"""An expiry that no test reaches."""


class FakeAccount(msgspec.Struct):
    """An account that records its renewals."""

    name: str
    cookies: tuple[Cookie, ...] = ()
    renewals: list[Cookie] = []

    def renew(self, cookies: tuple[Cookie, ...]) -> None:
        self.renewals += cookies


def cookie(
    name: str = "sessionid", value: str = SECRET, expires_at: float | None = LATER
) -> Cookie:
    return Cookie(name=name, value=value, domain=".tiktok.com", expires_at=expires_at)


def text_of(*cookies: Cookie) -> str:
    return with_renewals("", {(each.domain, each.path, each.name): each for each in cookies}, 0.0)


def write(path: Path, *cookies: Cookie, mode: int = 0o600) -> Path:
    """Write a file as its owner does, replacing the old one by rename."""
    fresh = path.with_name(f"{path.name}.mine")
    fresh.write_text(text_of(*(cookies or (cookie(),))), encoding="utf-8")
    fresh.chmod(mode)
    fresh.replace(path)
    return path


def value_in(path: Path, name: str = "sessionid") -> str:
    """Return the value of a cookie in a file."""
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    (value,) = [fields[6] for fields in lines if len(fields) == 7 and fields[5] == name]
    return value
