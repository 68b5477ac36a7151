"""Settings of the ways out to the platforms."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from streams.settings.kinds import EgressName, Group, check_url


class EgressSettings(Group):
    """The way out to the platforms."""

    proxy: str | None = Field(None, description="URL of an HTTP CONNECT proxy.")
    proxies: dict[EgressName, str] = Field(
        {}, description='Several ways out by name instead of one, {"a": "http://…"}.'
    )
    ca_file: Path | None = Field(None, description="PEM file of roots trusted additionally.")

    @field_validator("proxy")
    @classmethod
    def _is_http(cls, proxy: str | None) -> str | None:
        if proxy and not proxy.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        check_url(proxy or "")
        return proxy or None

    @field_validator("proxies")
    @classmethod
    def _are_http(cls, proxies: dict[str, str]) -> dict[str, str]:
        for name, url in proxies.items():
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{name} must start with http:// or https://")
            check_url(url, name)
        return proxies

    @model_validator(mode="after")
    def _is_one_or_several(self) -> Self:
        if self.proxy and self.proxies:
            raise ValueError("give either proxy or proxies")
        return self
