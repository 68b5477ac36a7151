"""What is fetched for a file, and what is kept of it. Pure."""

from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from agents.media.facts import MUXERS, MediaFacts
from agents.network.download import Fetched
from schemas.containers import DEFAULT_CONTAINER
from schemas.video import MediaSource, SelectedSource, VideoFormat

SOUND_CONTAINER = "m4a"
"""Of sound whose codec the page does not tell: nearly all videos have AAC."""


@dataclass(frozen=True, slots=True)
class Part:
    """One download for a file.

    Attributes:
        source: what is fetched.
        file: what it is fetched for.
        before: bytes that were fetched for the file before.
    """

    source: MediaSource
    file: SelectedSource
    before: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether the file has all of it, not only its sound."""
        return self.source is self.file and not self.file.sound_only


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is ready to be stored.

    Attributes:
        source: of it, with the format that it has.
        path: where it is.
        fetched: its size, sha256 and type.
        facts: what is in it, if that could be told.
        received_bytes: that were fetched for it.
    """

    source: MediaSource
    path: Path
    fetched: Fetched
    facts: MediaFacts | None
    received_bytes: int


def kept_format(source: SelectedSource, container: str | None = None) -> VideoFormat:
    """Return the format of the file that is kept.

    Args:
        source: what is fetched for it.
        container: file extension of what was made; None: as the page lets expect.
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


def fetched_bytes(source: SelectedSource) -> int | None:
    """Return how many bytes are fetched for a file, when the page tells."""
    sizes = [each.format.bytes for each in (source, source.sound_from) if each is not None]
    told = [size for size in sizes if size is not None]
    return sum(told) if len(told) == len(sizes) else None
