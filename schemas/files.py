"""What a finished file is."""

import msgspec


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file in storage, whole and checked.

    Attributes:
        uri: where it is: ``file:///…`` or ``s3://…``.
        bytes: its size.
        sha256: hex digest of its bytes.
        codec: video codec, or the audio codec of a sound file.
        reused: it was already there; nothing was fetched for this request.
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
    watermarked: bool = False
    reused: bool = False
