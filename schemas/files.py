"""Files of a result."""

from typing import Literal

import msgspec

Sidecar = Literal["info", "thumbnail", "nfo"]
"""A file beside the media of a post: its metadata, its picture, metadata for media servers."""

SidecarKind = Literal[Sidecar, "subtitles"]
"""Kind of a file beside the media in results. Subtitles are requested by their languages."""

SIDECAR_TYPES = {"json": "application/json", "nfo": "text/plain"}
"""Media types of generated sidecars by file extension. No browser runs them: an NFO file is XML."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file in storage, complete and verified.

    Attributes:
        uri: location: ``file:///…`` or ``s3://…``.
        format_id: id of its format, or of the format whose sound it is; ``A+B``: the picture of
            ``A`` with the sound of ``B``.
        bytes: size.
        sha256: hex digest of its bytes.
        width: pixels.
        height: pixels.
        duration_seconds: playing time; None for a picture.
        codec: codec of the video (``h264``, ``h265``, …) or the picture (``jpeg``, …); for a sound
            file its audio codec.
        audio_codec: None without sound.
        sample_rate: samples per second of the sound.
        silent: a video without sound, and no other format of the post has any.
        song: the song that the post names, not the sound of a video.
        probed: a media library has read the file, and these properties are its own; otherwise
            they are the page's.
        reused: it was already in storage; nothing was downloaded for it this time.
        sidecar: kind of a file beside the media; None for a media file.
        duplicate_of: URI of another post's file with the same bytes when it was stored; both share
            them on the disk. That file may be removed since.
        language: of subtitles, as the page gives it.
        automatic: subtitles by speech recognition.
        public_url: URL for everybody, where the operator has set ``storage.public_url_prefix``.
    """

    uri: str
    bytes: int
    sha256: str
    mime_type: str
    format_id: str
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    codec: str | None = None
    audio_codec: str | None = None
    sample_rate: int | None = None
    watermarked: bool = False
    silent: bool = False
    song: bool = False
    probed: bool = False
    reused: bool = False
    sidecar: SidecarKind | None = None
    language: str | None = None
    automatic: bool = False
    public_url: str | None = None
    duplicate_of: str | None = None
