"""Settings of the history of requests, and of the console with its API."""

from typing import Annotated, Self

from pydantic import Field, IPvAnyNetwork, SecretStr, field_validator, model_validator

from streams.settings.kinds import Count, Group

TOKEN_CHARACTERS_MIN = 16
"""A token of this length from a random source cannot be guessed over the network."""

TRACE_ID = "{trace_id}"
"""Placeholder in `ConsoleSettings.trace_url`."""


SHARED_USER = "console"
"""The user of `ConsoleSettings.token`."""

Token = Annotated[SecretStr, Field(min_length=TOKEN_CHARACTERS_MIN)]

UserName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


class HistorySettings(Group):
    """The history of requests in `data_dir`, which `clipmill requests` reads."""

    requests: Count = Field(200_000, description="Maximum number of requests, 1 KB each.")
    days: Count = Field(
        7, description="Days for which a request is kept; the topics keep their records for 7."
    )


class ConsoleSettings(Group):
    """The console, and the HTTP API that it serves."""

    http: str = Field("127.0.0.1:8090", description="HOST:PORT that the console listens on.")
    token: SecretStr | None = Field(
        None,
        description="Token of the login page and of `Authorization: Bearer`; required, or "
        "user_header, to listen on another address than loopback.",
        min_length=TOKEN_CHARACTERS_MIN,
    )
    tokens: dict[UserName, Token] = Field(
        {},
        description="Tokens of single users by name, which becomes the author of their orders; the "
        "author with token is console.",
    )
    hosts: tuple[str, ...] = Field(
        (), description="Names besides localhost under which a console without token is reached."
    )
    read_only: bool = Field(default=False, description="Reject every change.")
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = Field(
        None, description="Header in which a proxy names the authenticated user."
    )
    proxies: tuple[IPvAnyNetwork, ...] = Field(
        (), description="Networks of the proxies whose user_header is trusted."
    )
    trace_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = Field(
        None,
        description="Link to the trace of a request, with {trace_id} in it, such as "
        "https://jaeger.example/trace/{trace_id}.",
    )

    @field_validator("trace_url")
    @classmethod
    def _check_trace_url(cls, template: str | None) -> str | None:
        if template is not None and TRACE_ID not in template:
            raise ValueError(f"it has no {TRACE_ID}")
        return template

    @model_validator(mode="after")
    def _check_tokens(self) -> Self:
        given = [*self.tokens.values(), *([self.token] if self.token is not None else [])]
        if len({each.get_secret_value() for each in given}) < len(given):
            raise ValueError("two users have the same token")
        if self.token is not None and SHARED_USER in self.tokens:
            raise ValueError(f"{SHARED_USER} is the user of token")
        return self

    @model_validator(mode="after")
    def _check_proxies(self) -> Self:
        if (self.user_header is None) != (not self.proxies):
            raise ValueError("user_header and proxies are set together or not at all")
        return self
