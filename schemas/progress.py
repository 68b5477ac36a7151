"""How far a download is. A supplement: losing one hurts nobody."""

import msgspec

from schemas.codec import Moment


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes so far of all files of a request together.

    Attributes:
        format_id: of the file that bytes last came for.
        bytes: of all files, those that were there already included.
        total_bytes: of all files; None while one of them is unknown.
        bytes_per_second: what came over the network.
        eta_seconds: None while ``total_bytes`` is.
        files_done: files that are stored.
        files_total: one for a video; of a photo post every picture, and its music.
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
