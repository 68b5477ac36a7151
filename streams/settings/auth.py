"""Settings of logins."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from streams.settings.kinds import Group, Seconds


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


def _named_apart(places: tuple[Path, ...]) -> tuple[Path, ...]:
    """Refuse two files of one name: the name is the account's.

    Raises:
        ValueError: there are two.
    """
    names = Counter(place.stem for place in places)
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise ValueError(f"two files are named {', '.join(twice)}; the name is the account's")
    return places


CookiePlaces = Annotated[
    tuple[Path, ...], Field(min_length=1), BeforeValidator(_as_list), AfterValidator(_named_apart)
]


class AuthSettings(Group):
    """Logging in to platforms."""

    authenticator: str = Field(
        "cookie_files", description="What keeps the accounts: cookie_files, or a plug-in's name."
    )
    cookie_files: dict[str, CookiePlaces] = Field(
        {},
        description="Netscape cookie files or folders of them, by platform,"
        ' {"tiktok": "tiktok.txt"} or {"tiktok": ["a.txt", "b.txt"]}; an account each.',
    )
    session_cookies: dict[str, tuple[str, ...]] = Field(
        {"tiktok": ("sessionid",)},
        description="Names of the cookies that carry the login, by platform.",
    )
    write_seconds: Seconds = Field(
        5.0, description="Least time between two writes of one cookie file."
    )
    always: bool = Field(
        default=False,
        description="Read every page with an account while one is at hand, not only where needed.",
    )
    options: dict[str, SecretStr] = Field(
        {}, description="Settings of an authenticator plug-in, by its own names."
    )
