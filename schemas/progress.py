"""How far a download is. A supplement: losing one hurts nobody."""

import msgspec

from schemas.moment import Moment


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes so far of one file. ``total_bytes`` and ``eta_seconds`` are None when unknown."""

    request_id: str
    video_key: str
    format_id: str
    bytes: int
    total_bytes: int | None
    bytes_per_second: float
    eta_seconds: float | None
    at: Moment
