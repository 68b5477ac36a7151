"""Settings of logins."""

from pathlib import Path

from pydantic import Field

from streams.settings.kinds import Group


class AuthSettings(Group):
    """Logging in to platforms."""

    cookie_files: dict[str, Path] = Field(
        {}, description='Netscape cookie files by platform, {"tiktok": "tiktok.txt"}.'
    )
