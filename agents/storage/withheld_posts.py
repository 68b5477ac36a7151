"""Posts that are not downloaded: a person removed their files, or has them elsewhere.

Such a post has a record of some 60 bytes, ``.withheld/<platform>/<id>.json``.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal

import msgspec

from agents.storage.interface import Records
from agents.storage.names import FileIds, file_stem
from schemas.codec import Moment

FOLDER = ".withheld"

WithheldCause = Literal["removed", "archived"]
"""A person removed its files, or adopted a download archive that lists it."""


class WithheldPost(msgspec.Struct, frozen=True, kw_only=True):
    """Why and since when a post is not downloaded."""

    cause: WithheldCause
    since: Moment


async def find_withheld(records: Records, platform: str, video_id: str) -> WithheldPost | None:
    """Return why a post is not downloaded, None when it is; a malformed record counts.

    Raises:
        ClipmillError: ``system.storage``, the store cannot be read; ``content.unsupported``, the
            names cannot be used.
    """
    content = await records.read(_name(platform, video_id))
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=WithheldPost)
    except msgspec.DecodeError:
        return WithheldPost(cause="removed", since=datetime.fromtimestamp(0, UTC))


async def withhold(records: Records, platform: str, video_id: str, cause: WithheldCause) -> None:
    """Record that a post is not downloaded (again).

    Raises:
        ClipmillError: see `Records.write`; ``content.unsupported``, the names cannot be used.
    """
    post = WithheldPost(cause=cause, since=datetime.now(UTC).replace(microsecond=0))
    await records.write(_name(platform, video_id), msgspec.json.encode(post))


async def release(records: Records, platform: str, video_id: str) -> None:
    """Remove the record of a post, if there is one: it is downloaded when it is requested.

    Raises:
        ClipmillError: see `Records.remove`; ``content.unsupported``, the names cannot be used.
    """
    await records.remove(_name(platform, video_id))


async def withheld_keys(records: Records) -> AsyncIterator[str]:
    """Yield the keys of all posts that are not downloaded, ``<platform>:<id>``.

    Raises:
        ClipmillError: ``system.storage``, the store cannot be read.
    """
    async for name in records.names(FOLDER):
        yield f"{name.parent.name}:{name.stem}"


def _name(platform: str, video_id: str) -> PurePosixPath:
    # The stem of a file checks the names.
    folder = file_stem(FileIds(platform, video_id, "post")).parent
    return PurePosixPath(FOLDER, folder.parent, f"{folder.name}.json")
