"""Publishes files whose content is generated, not downloaded."""

from typing import NamedTuple

from agents.download.post_details import details_of
from agents.storage import Storage
from agents.storage.writing import open_hashing_file
from schemas.events import SelectedVideo


class GeneratedFile(NamedTuple):
    """A published file: its URI, and its SHA-256 (hex)."""

    uri: str
    sha256: str


async def publish_content(
    storage: Storage, content: bytes, event: SelectedVideo, *, format_id: str, extension: str
) -> GeneratedFile:
    """Publish a file of a post, atomically.

    Raises:
        ClipmillError: see `Storage.publish`.
    """
    async with storage.workspace() as directory:
        path = directory / "generated"
        async with open_hashing_file(path) as file:
            await file.write(content)
            digest = await file.finish()
        uri = await storage.publish(
            path,
            platform=event.video.platform,
            video_id=event.video.id,
            format_id=format_id,
            extension=extension,
            sha256=digest,
            details=details_of(event.info),
        )
    return GeneratedFile(uri, digest)
