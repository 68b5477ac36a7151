"""Deterministic media: real files of their kind, padded to their size with seeded bytes."""

import functools
import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.standin.ids import case_of_id
from tests.standin.media_layout import BLOCK_BYTES, CHUNK_BYTES, Part, layout, pieces
from tests.standin.media_shapes import Shape, shape_of
from tests.standin.posts import image_ids, media_bytes, post_for
from tests.standin.scenarios import Case, scenario_named

_HOST_NUMBER = re.compile(r"-\d+$")


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one media file.

    Attributes:
        video_id: Of its post.
        format_id: Of the post's media.
        size: In bytes.
        shape: What it shows.
        version: 2 for the re-encoded file that replaces the first in ``media.changed``.
    """

    video_id: str
    format_id: str
    size: int
    shape: Shape
    version: int = 1

    @property
    def etag(self) -> str:
        seed = f"{self.video_id}/{self.format_id}/{self.version}/{self.size}/{self.shape}"
        return f'"{hashlib.md5(seed.encode()).hexdigest()}"'

    @property
    def media_type(self) -> str:
        return self.shape.media_type

    def chunks(self, start: int, length: int) -> Iterator[memoryview]:
        """The bytes from ``start`` on, in chunks of at most `CHUNK_BYTES`."""
        ring = memoryview(_ring(self.video_id, self.format_id, self.version))
        return pieces(_layout(self.shape, self.size), ring, start, start + length)


@dataclass(frozen=True, slots=True)
class ExpectedMedia:
    """The file that a client must receive.

    Attributes:
        size: In bytes.
        sha256: Hexadecimal.
        media_type: Such as ``video/mp4``.
    """

    size: int
    sha256: str
    media_type: str


def expected_media(
    video_id: str, format_id: str, *, scenario: str | None = None, param: int = 0, version: int = 1
) -> ExpectedMedia:
    """Size and sha256 of a media file, computed without a server.

    Args:
        video_id: Of the post.
        format_id: yt-dlp's id, with or without the host's number (``h264_720p_800000-1``);
            or ``play``, ``download``, ``audio``, ``cover``, ``image_1`` and so on.
        scenario: The post's scenario when a switch or user name sets it, not the id.
        param: The number of that scenario.
        version: 2 for the file that ``media.changed`` serves after its first response.

    Raises:
        ValueError: The post has no such media.
    """
    case = Case(scenario_named(scenario), param) if scenario else case_of_id(video_id)
    name = _HOST_NUMBER.sub("", format_id)
    post = post_for(video_id, case=case)
    size = media_bytes(post, name)
    if size is None:
        raise ValueError(f"the post {video_id} has no media {format_id!r}")
    return _digest(Content(video_id, name, size, shape_of(post, name), version))


def expected_images(video_id: str) -> tuple[ExpectedMedia, ...]:
    """The pictures of a photo post, in order."""
    post = post_for(video_id, case=case_of_id(video_id))
    return tuple(expected_media(video_id, name) for name in image_ids(post))


@functools.lru_cache(maxsize=1024)
def _digest(content: Content) -> ExpectedMedia:
    digest = hashlib.sha256()
    for chunk in content.chunks(0, content.size):
        digest.update(chunk)
    return ExpectedMedia(content.size, digest.hexdigest(), content.media_type)


@functools.lru_cache(maxsize=256)
def _layout(shape: Shape, size: int) -> tuple[Part, ...]:
    return layout(shape, size)


@functools.lru_cache(maxsize=64)
def _ring(video_id: str, format_id: str, version: int) -> bytes:
    block = random.Random(f"{video_id}/{format_id}/{version}").randbytes(BLOCK_BYTES)
    return block * (CHUNK_BYTES // BLOCK_BYTES + 1)
