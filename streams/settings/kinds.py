"""What settings are made of: a group refuses unknown names, and numbers have their bounds."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

HIGHEST_PORT = 65_535

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Wait = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
EgressName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class Group(BaseModel):
    """Settings that belong together: a table of ``clipmill.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check_url(url: str, name: str = "it") -> None:
    """Refuse a URL whose password would be taken for something that is logged.

    Raises:
        ValueError: it is no URL, or it ends somewhere within its password; does not show it.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is the check
    except ValueError:
        is_whole = False
    else:
        is_whole = "@" not in f"{parts.path}{parts.query}{parts.fragment}"
    if not is_whole:
        raise ValueError(f"{name} is no URL; encode / ? # @ in its password (%2F %3F %23 %40)")
