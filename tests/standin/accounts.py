"""Accounts and collections: what they are, and which posts they have, newest first."""

import re
import zlib
from dataclasses import dataclass

from tests.standin.ids import video_id

SEC_UID_START = "MS4wLjABAAAA"
NEWEST_AT = 1_700_000_000
"""Unix time of the newest post of every list."""

SECONDS_BETWEEN_POSTS = 600
PHOTOS_EVERY = 5
"""Every so many posts one is a photo post of two pictures; the others are videos of 16 KiB."""

_SEC_UID_CHARACTERS = 64
_SEC_UID = re.compile(rf"{SEC_UID_START}(?P<name>[0-9a-f]*)-*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListedPost:
    """A post in a list: its id, and the Unix time that the list gives it."""

    video_id: str
    created: int


def listed_post(owner: str, place: int) -> ListedPost:
    """The post at a place of a list, from 0, the newest."""
    serial = zlib.crc32(owner.encode()) % 9 * 100_000 + place
    if place % PHOTOS_EVERY == PHOTOS_EVERY - 1:
        post_id = video_id("photo", param=2, serial=serial)
    else:
        post_id = video_id("kilobytes", param=16, serial=serial)
    return ListedPost(post_id, NEWEST_AT - place * SECONDS_BETWEEN_POSTS)


def posts_from(owner: str, count: int, start: int, size: int) -> list[ListedPost]:
    """At most ``size`` posts of a list of ``count``, from a place on."""
    return [listed_post(owner, place) for place in range(start, min(start + size, count))]


def place_before(milliseconds: int) -> int:
    """The place of the newest post that is older than a moment (Unix time)."""
    newer = NEWEST_AT * 1000 - milliseconds
    return max(0, newer // (SECONDS_BETWEEN_POSTS * 1000) + 1)


def sec_uid(name: str) -> str:
    """The other name of an account, by which its list is asked for; it carries the name."""
    digits = name.encode().hex()[:_SEC_UID_CHARACTERS]
    return SEC_UID_START + digits.ljust(_SEC_UID_CHARACTERS, "-")


def name_of(uid: str) -> str | None:
    """The account that a secUid carries, if any."""
    match = _SEC_UID.fullmatch(uid)
    try:
        return bytes.fromhex(match["name"]).decode() if match else None
    except ValueError:
        return None
