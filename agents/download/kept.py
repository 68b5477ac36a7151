"""Downloads of a file, and the file that results from them. Pure."""

from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from agents.media.facts import MUXERS, MediaFacts
from agents.network.download import Fetched
from schemas.containers import DEFAULT_CONTAINER
from schemas.video import MediaSource, SelectedSource, VideoFormat

SOUND_CONTAINER = "m4a"
"""Container of sound with an unknown codec: nearly all videos have AAC."""


@dataclass(frozen=True, slots=True)
class DownloadPart:
    """One download of the one or two that a file needs.

    Attributes:
        source: the source to download.
        file: the file that needs it.
        bytes_before: bytes of the file's earlier downloads.
    """

    source: MediaSource
    file: SelectedSource
    bytes_before: int = 0

    @property
    def is_primary(self) -> bool:
        """Whether the file contains the whole download, not only its sound."""
        return self.source is self.file and not self.file.sound_only


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """A verified file that is ready to be published.

    Attributes:
        source: its source, with the actual format.
        path: its path in the workspace.
        fetched: its size, sha256 and media type.
        facts: its probed properties, None when it could not be probed.
        received_bytes: bytes downloaded for it.
    """

    source: MediaSource
    path: Path
    fetched: Fetched
    facts: MediaFacts | None
    received_bytes: int


def output_format(source: SelectedSource, container: str | None = None) -> VideoFormat:
    """Return the format of the published file.

    Args:
        source: its source.
        container: file extension of the remuxed file; None: the one expected from the page.
    """
    chosen = source.format
    if source.sound_only:
        muxer = MUXERS.get(chosen.audio_codec or "")
        return VideoFormat(
            format_id=chosen.format_id,
            container=container or (muxer.extension if muxer else SOUND_CONTAINER),
            audio_codec=chosen.audio_codec,
            bits_per_second=chosen.audio_bits_per_second,
            song=chosen.song,
        )
    if source.sound_from is not None:
        sound = source.sound_from.format
        return replace(
            chosen,
            format_id=source.format_id,
            container=container or DEFAULT_CONTAINER,
            audio_codec=sound.audio_codec,
            audio_bits_per_second=sound.audio_bits_per_second,
            bytes=None,
        )
    return chosen


def download_bytes(source: SelectedSource) -> int | None:
    """Return how many bytes are downloaded for a file; None when the page has no sizes."""
    sizes = [each.format.bytes for each in (source, source.sound_from) if each is not None]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
