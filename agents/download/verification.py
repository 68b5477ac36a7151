"""Looks into a file before it is kept, and says what it is."""

import logging
from pathlib import Path

import msgspec

from agents.media.checking import check, damage, no_sound
from agents.media.client import ProcessAwayError
from agents.media.containers import extension_of
from agents.media.facts import MediaFacts, Unknown, Unreadable
from agents.media.prober import Probe
from agents.network.download import Fetched
from schemas.containers import MEDIA_TYPES
from schemas.errors import ClipmillError
from schemas.files import StoredFile
from schemas.video import MediaSource, SelectedSource, VideoInfo
from streams.observability.metrics import PROBES, start_at_zero

logger = logging.getLogger(__name__)


class FileVerifier:
    """Has files looked into.

    Args:
        probe: looks into files; None: nobody does, and every file is kept.
    """

    def __init__(self, probe: Probe | None) -> None:
        self._probe = probe
        start_at_zero(PROBES, ("sound", "damaged", "unknown", "away"))

    async def examine(self, path: Path, source: MediaSource, info: VideoInfo) -> MediaFacts | None:
        """Return what is in a file that is what was promised.

        None when nobody can tell; it is kept all the same then: an outage of ours loses nothing.

        Raises:
            ClipmillError: ``content.damaged`` or ``content.no_sound``, it is not.
        """
        if self._probe is None:
            return None
        try:
            facts = await self._look(self._probe, path, source, info)
        except ClipmillError:
            PROBES.labels("damaged").inc()
            raise
        except ProcessAwayError as error:
            PROBES.labels("away").inc()
            logger.warning("a file of %s is stored unread: %s", info.url, error)
            return None
        PROBES.labels("unknown" if facts is None else "sound").inc()
        return facts

    async def _look(
        self, probe: Probe, path: Path, source: MediaSource, info: VideoInfo
    ) -> MediaFacts | None:
        match await probe.probe(path):
            case Unreadable(reason=reason):
                raise damage(f"it cannot be read ({reason})")
            case MediaFacts() as facts:
                check(facts, source.format, info.duration_seconds)
                return facts
            case Unknown():
                return None


def extension(source: MediaSource, facts: MediaFacts | None) -> str:
    """Return the extension under which a file is stored."""
    named = source.format.container
    return named if facts is None else extension_of(facts, named)


def stored_file(
    source: MediaSource, info: VideoInfo, fetched: Fetched, uri: str, facts: MediaFacts | None
) -> StoredFile:
    """Return a stored file: what is in it, or what the page says when nobody could tell."""
    chosen, found = source.format, facts or _promised(source, info)
    told = fetched.mime_type
    return StoredFile(
        uri=uri,
        bytes=fetched.bytes,
        sha256=fetched.sha256,
        mime_type=told if facts is None else MEDIA_TYPES.get(extension(source, facts), told),
        format_id=chosen.format_id,
        song=chosen.song,
        width=found.width,
        height=found.height,
        duration_seconds=found.duration_seconds,
        codec=found.video_codec or found.audio_codec,
        audio_codec=found.audio_codec,
        sample_rate=found.sample_rate,
        watermarked=chosen.watermarked,
        probed=facts is not None,
    )


def check_sound(file: StoredFile, source: SelectedSource) -> StoredFile:
    """Return a file, marked as silent where no format of its post has sound.

    A file that was stored before may have none although the page promises sound.

    Raises:
        ClipmillError: ``content.no_sound``; another format of the post may have some.
    """
    chosen = source.format
    has_sound = file.audio_codec is not None or source.sound_from is not None
    if has_sound or chosen.video_codec is None or chosen.picture is not None:
        return file
    if chosen.audio_codec is not None and not file.silent:
        raise no_sound(chosen.format_id)
    return msgspec.structs.replace(file, silent=True)


def _promised(source: MediaSource, info: VideoInfo) -> MediaFacts:
    chosen = source.format
    return MediaFacts(
        duration_seconds=None if chosen.picture else info.duration_seconds,
        video_codec=chosen.video_codec,
        audio_codec=chosen.audio_codec,
        width=chosen.width,
        height=chosen.height,
    )
