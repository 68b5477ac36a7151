"""Who requested a post, as far as retention depends on it.

The value of one attribute of requests is recorded, as its digest: an empty record
``.requesters/<digest>/<platform>/<id>``. They are read by listing them, not one by one.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from agents.storage.names import FileIds, file_stem
from agents.storage.records import Records

FOLDER = ".requesters"

_DIGEST_CHARACTERS = 32


def requester_id(attribute: str, value: str) -> str:
    """Return the digest of an attribute of requests and its value."""
    text = f"{attribute}\0{value}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:_DIGEST_CHARACTERS]


async def record_requester(records: Records, requester: str, platform: str, video_id: str) -> None:
    """Record that a requester has requested a post, unless it is recorded already.

    Raises:
        ClipmillError: see `Records.write`; ``content.unsupported``, the names cannot be used.
    """
    name = _folder(requester) / file_stem(FileIds(platform, video_id, "post")).parent
    if await records.read(name) is None:
        await records.write(name, b"")


async def requesters_by_post(
    records: Records, requesters: Iterable[str]
) -> Mapping[str, tuple[str, ...]]:
    """Return which of these requesters have requested a post, by its key ``<platform>:<id>``.

    Raises:
        ClipmillError: ``system.storage``, the store cannot be read.
    """
    found: dict[str, tuple[str, ...]] = {}
    for requester in requesters:
        async for name in records.names(str(_folder(requester))):
            key = f"{name.parent.name}:{name.name}"
            found[key] = (*found.get(key, ()), requester)
    return found


def _folder(requester: str) -> PurePosixPath:
    return PurePosixPath(FOLDER, requester)
