"""From when on what is remembered of a video counts again: users may have it forgotten."""

from datetime import datetime

from schemas.codec import MalformedMessageError, decode
from schemas.signals import REFRESH, RefreshSignal
from streams.signals import Signals


def refreshed_at(signals: Signals, key: str) -> datetime | None:
    """Return when a video (``tiktok:7608826249200356630``) was last ordered to be forgotten.

    None: never. What is remembered from before that moment must not be used.
    """
    value = signals.get(f"{REFRESH}{key}")
    if value is None:
        return None
    try:
        return decode(value, RefreshSignal).at
    except MalformedMessageError:
        return None
