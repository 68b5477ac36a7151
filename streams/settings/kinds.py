"""Base class and bounded types of settings; a group rejects unknown names."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

HIGHEST_PORT = 65_535

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Wait = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
PositiveRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
EgressName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class Group(BaseModel):
    """A group of settings: one table of ``clipmill.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check_url(url: str, name: str = "it") -> None:
    """Reject a URL with an unescaped password, part of which would be parsed as path and logged.

    Raises:
        ValueError: not a URL, or its authority ends within the password; the URL is not quoted.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is the check
    except ValueError:
        is_whole = False
    else:
        is_whole = "@" not in f"{parts.path}{parts.query}{parts.fragment}"
    if not is_whole:
        raise ValueError(f"{name} is not a URL; encode / ? # @ in its password (%2F %3F %23 %40)")
