"""Reuse of adopted files, of which the post is known and not the format. Pure.

``clipmill files adopt`` stores them, such as files that yt-dlp downloaded. An adopted file takes
the place of the selected one when it is what the request asks for: of the size that would be
downloaded, or for the best quality a larger one, and of the container and codec that the request
names.
"""

from pathlib import PurePosixPath

from agents.storage.names import ADOPTED
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.request import Options
from schemas.video import SelectedSource

SIZE_TOLERANCE = 0.02
"""Encoders round the sides to multiples of 2 to 16."""


def adopted_id(source: SelectedSource, event: SelectedVideo) -> str | None:
    """Return the file id of an adopted file that may take a source's place; None if none may.

    Only one file of a post is adopted: it is none of its pictures and not its song, and a
    ``refresh`` does not use it.
    """
    chosen = source.format
    is_other = chosen.picture is not None or chosen.motion or chosen.song
    if is_other or source.tagged or event.job.options.refresh:
        return None
    return f"{ADOPTED}{'~sound' * source.sound_only}"


def is_as_selected(file: StoredFile, source: SelectedSource, options: Options) -> bool:
    """Return whether a file is what would be downloaded for a source; False if it is not probed."""
    if not file.probed:
        return False
    if source.sound_only:
        return file.audio_codec is not None
    if options.container not in ("any", PurePosixPath(file.uri).suffix[1:]):
        return False
    if options.codec not in ("any", file.codec):
        return False
    expected = source.format.smaller_side
    found = min(filter(None, (file.width, file.height)), default=0)
    is_large_enough = found >= expected * (1 - SIZE_TOLERANCE)
    is_small_enough = options.quality == "best" or found <= expected * (1 + SIZE_TOLERANCE)
    return not expected or (is_large_enough and is_small_enough)
