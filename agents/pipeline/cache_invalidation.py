"""From when on what is remembered of a video counts again: users may have it forgotten."""

from datetime import UTC, datetime

from schemas.codec import MalformedMessageError, decode
from schemas.signals import REFRESH, RefreshSignal
from streams.cluster.shared_state import SharedState


def invalidated_at(signals: SharedState, key: str) -> datetime | None:
    """Return when a video (``tiktok:7608826249200356630``) was last ordered to be forgotten.

    None: never. What is remembered from before that moment must not be used. The moment is one of
    this worker's clock, as those are of what it remembers.
    """
    name = f"{REFRESH}{key}"
    value = signals.get(name)
    if value is None:
        return None
    try:
        at = decode(value, RefreshSignal).at
        return signals.published_at(name, at, datetime.now(UTC))
    except MalformedMessageError:
        return None
