"""Looks into a file before it is kept, and says what it is."""

import logging
from pathlib import Path

import msgspec

from agents.media.checking import check, damage
from agents.media.facts import MediaFacts, Unknown, Unreadable
from agents.media.prober import Probe, ProbeAwayError
from agents.network.download import Fetched
from schemas.errors import ClipmillError
from schemas.files import StoredFile
from schemas.video import MediaSource, VideoInfo
from streams.metrics import PROBES

logger = logging.getLogger(__name__)


class Examiner:
    """Has files looked into.

    Args:
        probe: looks into files; None: nobody does, and every file is kept.
    """

    def __init__(self, probe: Probe | None) -> None:
        self._probe = probe

    async def examine(self, path: Path, source: MediaSource, info: VideoInfo) -> MediaFacts | None:
        """Return what is in a file that is what was promised.

        None when nobody can tell; it is kept all the same then: an outage of ours loses nothing.

        Raises:
            ClipmillError: ``content.damaged``, it is not.
        """
        if self._probe is None:
            return None
        try:
            facts = await self._look(self._probe, path, source, info)
        except ClipmillError:
            PROBES.labels("damaged").inc()
            raise
        except ProbeAwayError as error:
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


def stored_file(
    source: MediaSource, info: VideoInfo, fetched: Fetched, uri: str, facts: MediaFacts | None
) -> StoredFile:
    """Return a stored file: what is in it, or what the page says when nobody could tell."""
    chosen, found = source.format, facts or _promised(source, info)
    return StoredFile(
        uri=uri,
        **msgspec.structs.asdict(fetched),
        format_id=chosen.format_id,
        width=found.width,
        height=found.height,
        duration_seconds=found.duration_seconds,
        codec=found.video_codec or found.audio_codec,
        audio_codec=found.audio_codec,
        sample_rate=found.sample_rate,
        watermarked=chosen.watermarked,
        probed=facts is not None,
    )


def _promised(source: MediaSource, info: VideoInfo) -> MediaFacts:
    chosen = source.format
    return MediaFacts(
        duration_seconds=None if chosen.picture else info.duration_seconds,
        video_codec=chosen.video_codec,
        audio_codec=chosen.audio_codec,
        width=chosen.width,
        height=chosen.height,
    )
