"""Verification: probes a file before it is published, and describes the stored file."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from agents.media.checking import check, damaged_error, no_sound_error
from agents.media.client import ProcessUnavailableError
from agents.media.containers import extension_of
from agents.media.prober import Probe, open_prober
from agents.media.protocol import MediaFacts, Unreadable, Unsupported
from agents.network.download import Fetched
from schemas.errors import ClipmillError
from schemas.files import StoredFile
from schemas.video import MEDIA_TYPES, MediaSource, SelectedSource, VideoInfo
from streams.observability.metrics import PROBES, start_at_zero

logger = logging.getLogger(__name__)


class FileVerifier:
    """Verifies that files match their pages.

    Args:
        probe: the media prober; None disables verification.
    """

    def __init__(self, probe: Probe | None) -> None:
        self._probe = probe
        start_at_zero(PROBES, ("sound", "damaged", "unknown", "away"))

    async def verify(self, path: Path, source: MediaSource, info: VideoInfo) -> MediaFacts | None:
        """Probe a file and check it against its page; return its properties.

        None when the file cannot be probed. It is then accepted unverified (fail open): an outage
        of the prober fails no request.

        Raises:
            ClipmillError: ``content.damaged`` or ``content.no_sound``, it does not match.
        """
        if self._probe is None:
            return None
        try:
            answer = await self._probe.probe(path)
            if isinstance(answer, Unreadable):
                raise damaged_error(f"it cannot be read ({answer.reason})")
            if isinstance(answer, MediaFacts):
                check(answer, source.format, info.duration_seconds)
        except ClipmillError:
            PROBES.labels("damaged").inc()
            raise
        except ProcessUnavailableError as error:
            PROBES.labels("away").inc()
            logger.warning("a file of %s is stored unverified: %s", info.url, error)
            return None
        if isinstance(answer, Unsupported):
            PROBES.labels("unknown").inc()
            return None
        PROBES.labels("sound").inc()
        return answer


@asynccontextmanager
async def open_verifier(*, probe: bool) -> AsyncIterator[FileVerifier]:
    """Yield a verifier with a prober of its own; without ``probe`` it accepts all files."""
    async with open_prober() as prober:
        yield FileVerifier(prober if probe else None)


def extension(source: MediaSource, facts: MediaFacts | None) -> str:
    named = source.format.container
    return named if facts is None else extension_of(facts, named)


def stored_file(
    source: MediaSource, info: VideoInfo, fetched: Fetched, uri: str, facts: MediaFacts | None
) -> StoredFile:
    """Describe a stored file, by its probed properties or else those of the page."""
    chosen = source.format
    found = facts or MediaFacts(
        duration_seconds=None if chosen.picture else info.duration_seconds,
        video_codec=chosen.video_codec,
        audio_codec=chosen.audio_codec,
        width=chosen.width,
        height=chosen.height,
    )
    reported = fetched.mime_type
    return StoredFile(
        uri=uri,
        bytes=fetched.bytes,
        sha256=fetched.sha256,
        mime_type=reported
        if facts is None
        else MEDIA_TYPES.get(extension(source, facts), reported),
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
    """Return a file, marked as silent when no format of its post has sound.

    A reused file may have no sound although the page promises it.

    Raises:
        ClipmillError: ``content.no_sound``; another format of the post may have sound.
    """
    chosen = source.format
    has_sound = file.audio_codec is not None or source.sound_from is not None
    if has_sound or chosen.video_codec is None or chosen.picture is not None:
        return file
    if chosen.audio_codec is not None and not file.silent:
        raise no_sound_error(chosen.format_id)
    return msgspec.structs.replace(file, silent=True)
