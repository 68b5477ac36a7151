"""Settings of platform accounts and their cookies."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from streams.settings.kinds import Group, Seconds


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


def _reject_duplicate_names(files: tuple[Path, ...]) -> tuple[Path, ...]:
    """Reject two files with the same stem, as the stem is the account's name."""
    names = Counter(file.stem for file in files)
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise ValueError(
            f"two files are named {', '.join(twice)}; the file name is the name of the account"
        )
    return files


CookieFilePaths = Annotated[
    tuple[Path, ...],
    Field(min_length=1),
    BeforeValidator(_as_list),
    AfterValidator(_reject_duplicate_names),
]


class AuthSettings(Group):
    """Logging in to platforms."""

    authenticator: str = Field(
        "cookie_files", description="Source of the accounts: cookie_files, or a plug-in's name."
    )
    cookie_files: dict[str, CookieFilePaths] = Field(
        {},
        description="Netscape cookie files or folders of them, by platform,"
        ' {"tiktok": "tiktok.txt"} or {"tiktok": ["a.txt", "b.txt"]}; one account per file.',
    )
    session_cookies: dict[str, tuple[str, ...]] = Field(
        {"tiktok": ("sessionid",)},
        description="Names of the session cookies that identify an account, by platform.",
    )
    write_seconds: Seconds = Field(
        5.0, description="Minimum time between two writes of one cookie file."
    )
    always: bool = Field(
        default=False,
        description="Read every page with an account if one is available, not only if required.",
    )
    options: dict[str, SecretStr] = Field(
        {}, description="Settings of an authenticator plug-in, by its own names."
    )
