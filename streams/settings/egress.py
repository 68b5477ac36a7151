"""Settings of the egresses: the proxies through which platforms are reached."""

from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from streams.settings.kinds import EgressName, Group, check_url

PROXY_SCHEMES = ("http", "https", "socks5h")

LOGIN_CHARACTERS_MAX = 255
"""Characters of a SOCKS5 user or password: each length is one byte (RFC 1929)."""


class EgressSettings(Group):
    """The egresses: the proxies through which platforms are reached."""

    proxy: str | None = Field(
        None, description="URL of an HTTP CONNECT (http://…) or SOCKS5 (socks5h://…) proxy."
    )
    proxies: dict[EgressName, str] = Field(
        {}, description='Several egresses by name instead of one proxy, {"a": "http://…"}.'
    )
    ca_file: Path | None = Field(None, description="PEM file of additional root certificates.")

    @field_validator("proxy")
    @classmethod
    def _is_proxy(cls, proxy: str | None) -> str | None:
        if not proxy:
            return None
        _check_proxy(proxy)
        return proxy

    @field_validator("proxies")
    @classmethod
    def _are_proxies(cls, proxies: dict[str, str]) -> dict[str, str]:
        for name, url in proxies.items():
            _check_proxy(url, name)
        return proxies

    @model_validator(mode="after")
    def _is_one_or_several(self) -> Self:
        if self.proxy and self.proxies:
            raise ValueError("give either proxy or proxies")
        return self


def _check_proxy(url: str, name: str = "it") -> None:
    """Reject a URL that is not a proxy's; the error does not quote it, as it may hold a password.

    Raises:
        ValueError: the reason, and the form that is required.
    """
    scheme = url.partition("://")[0]
    if scheme in {"socks5", "socks"}:
        raise ValueError(
            f"{name} would resolve host names here, to addresses of another region than the proxy;"
            " write socks5h:// to resolve them at the proxy"
        )
    if scheme not in PROXY_SCHEMES or "://" not in url:
        raise ValueError(f"{name} must start with http://, https:// or socks5h://")
    check_url(url, name)
    if scheme == "socks5h":
        _check_login(url, name)


def _check_login(url: str, name: str) -> None:
    """Reject a login that SOCKS5 cannot carry: client libraries drop or truncate it silently."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError(f"{name} has an incomplete login; set user and password, or neither")
    for each in (user, password):
        if len(each) > LOGIN_CHARACTERS_MAX or not each.isascii():
            raise ValueError(
                f"{name} has a login that SOCKS5 cannot send; user and password have up to"
                f" {LOGIN_CHARACTERS_MAX} characters of ASCII each"
            )
