"""Progress of a download. Published best-effort: a lost record has no effect on results."""

import msgspec

from schemas.codec import Moment


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes so far of all files of a request together.

    Attributes:
        format_id: format of the file that received bytes last.
        bytes: bytes of all files, including files that were already in storage.
        total_bytes: size of all files; None while one of them is unknown.
        bytes_per_second: download rate over the network.
        eta_seconds: None while ``total_bytes`` is.
        files_done: files in storage.
        files_total: one for a video; for a photo post every picture, and its music.
    """

    request_id: str
    video_key: str
    format_id: str
    bytes: int
    total_bytes: int | None
    bytes_per_second: float
    eta_seconds: float | None
    files_done: int = 0
    files_total: int = 1
    at: Moment
