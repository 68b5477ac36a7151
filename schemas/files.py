"""What a finished file is."""

import msgspec


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file in storage, whole and checked.

    Attributes:
        uri: where it is: ``file:///…`` or ``s3://…``.
        format_id: of the format that it is, or whose sound it is; ``A+B``: the picture of ``A``
            with the sound of ``B``.
        bytes: its size.
        sha256: hex digest of its bytes.
        width: pixels.
        height: pixels.
        duration_seconds: how long it plays; None for a picture.
        codec: of the video (``h264``, ``h265``, …) or the picture (``jpeg``, …); of a sound file
            its audio codec.
        audio_codec: None without sound.
        sample_rate: of the sound, in samples per second.
        silent: it is a video without sound, and no other format of the post has any.
        song: it is the song that the post names, not the sound of a video.
        probed: a media library has read it, and these facts are the file's own; otherwise they
            are what the page said.
        reused: it was there already; nothing was fetched for it this time.
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
