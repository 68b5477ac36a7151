"""Accounts and collections, and their posts, newest first."""

import re
import zlib
from dataclasses import dataclass

from tests.standin.ids import video_id

SEC_UID_START = "MS4wLjABAAAA"
NEWEST_AT = 1_700_000_000
"""Unix time of the newest post of every list."""

SECONDS_BETWEEN_POSTS = 600
PHOTOS_EVERY = 5
"""Every fifth post is a photo post of two pictures; the others are videos of 16 KiB."""

_SEC_UID_CHARACTERS = 64
_SEC_UID = re.compile(rf"{SEC_UID_START}(?P<name>[0-9a-f]*)-*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListedPost:
    """A post in a list: its id, and its Unix time in the list."""

    video_id: str
    created: int


def listed_post(owner: str, index: int) -> ListedPost:
    """The post at an index of a list; 0 is the newest."""
    serial = zlib.crc32(owner.encode()) % 9 * 100_000 + index
    if index % PHOTOS_EVERY == PHOTOS_EVERY - 1:
        post_id = video_id("photo", param=2, serial=serial)
    else:
        post_id = video_id("kilobytes", param=16, serial=serial)
    return ListedPost(post_id, NEWEST_AT - index * SECONDS_BETWEEN_POSTS)


def posts_from(owner: str, count: int, start: int, size: int) -> list[ListedPost]:
    """At most ``size`` posts of a list of ``count``, from an index on."""
    return [listed_post(owner, index) for index in range(start, min(start + size, count))]


def place_before(milliseconds: int) -> int:
    """The index of the newest post older than a Unix time in milliseconds."""
    newer = NEWEST_AT * 1000 - milliseconds
    return max(0, newer // (SECONDS_BETWEEN_POSTS * 1000) + 1)


def sec_uid(name: str) -> str:
    """The secUid of an account, which identifies its list; it encodes the name."""
    digits = name.encode().hex()[:_SEC_UID_CHARACTERS]
    return SEC_UID_START + digits.ljust(_SEC_UID_CHARACTERS, "-")


def name_of(uid: str) -> str | None:
    """The account name encoded in a secUid, if any."""
    match = _SEC_UID.fullmatch(uid)
    try:
        return bytes.fromhex(match["name"]).decode() if match else None
    except ValueError:
        return None
