"""Removes all files of posts by hand."""

from collections.abc import Iterable

import msgspec

from agents.platforms import Platforms
from agents.storage import Storage
from agents.storage.names import FileIds
from agents.storage.path_layout import layouts_of, path_of_uri, read_path
from agents.storage.post_paths import decode_record, record_name
from agents.storage.withheld_posts import release, withhold
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef


class RemovedPost(msgspec.Struct, frozen=True, kw_only=True):
    """A post whose files were removed.

    Attributes:
        video_key: of the post.
        uris: of the files.
        bytes: of the files.
    """

    video_key: str
    uris: tuple[str, ...] = ()
    bytes: int = 0


def post_of(text: str, platforms: Platforms) -> VideoRef:
    """Return the post of a link, or of a key as ``tiktok:7000000000000000001``.

    Raises:
        ClipmillError: neither; or a link that only the platform's server can resolve.
    """
    platform, separator, video_id = text.partition(":")
    if separator and platform in platforms.names:
        return VideoRef(platform=platform, id=video_id, url="")
    _, target = platforms.find(text)
    if not isinstance(target, VideoRef):
        message = f"{text} is not the link of a post; use the link in its result, or its key"
        raise ClipmillError(ErrorCode.REQUEST_INVALID, message)
    return target


async def remove_posts(
    storage: Storage,
    posts: Iterable[VideoRef],
    template: str | None,
    *,
    forget: bool,
    dry_run: bool,
) -> list[RemovedPost]:
    """Remove the files of posts, and record that they are not downloaded again.

    The record precedes the removal: killed between the two, a post has files that another run
    removes, and no request downloads them again meanwhile.

    Args:
        storage: of the files.
        posts: whose files are removed.
        template: of the storage's paths.
        forget: the posts may be downloaded again, also those that were removed before.
        dry_run: nothing is removed.

    Raises:
        ClipmillError: ``system.storage``; ``content.unsupported``, an id cannot be a name.
    """
    keys = {post.key: post for post in posts}
    found = {key: RemovedPost(video_key=key) for key in keys}
    if not dry_run:
        for post in keys.values():
            if forget:
                await release(storage.records, post.platform, post.id)
            else:
                await withhold(storage.records, post.platform, post.id, "removed")
    layouts = layouts_of(template, *[await _template_of(storage, it) for it in keys.values()])
    async for file in storage.files():
        name = read_path(path_of_uri(file.uri), layouts)
        key = None if name is None else f"{name.ids.platform}:{name.ids.video_id}"
        if key in found:
            removed = found[key]
            found[key] = msgspec.structs.replace(
                removed, uris=(*removed.uris, file.uri), bytes=removed.bytes + file.bytes
            )
            if not dry_run:
                await storage.remove(file.uri)
    return list(found.values())


async def _template_of(storage: Storage, post: VideoRef) -> str | None:
    """Return the template of a post's paths, which may be an earlier one."""
    content = await storage.records.read(record_name(FileIds(post.platform, post.id, "")))
    record = None if content is None else decode_record(content)
    return None if record is None else record.template
