"""Cache invalidation: a ``refresh`` command makes older cache entries of a video invalid."""

from datetime import UTC, datetime

from schemas.signals import REFRESH, RefreshSignal
from streams.cluster.shared_state import SharedState


def invalidated_at(signals: SharedState, key: str) -> datetime | None:
    """Return when a video (``tiktok:7608826249200356630``) was last invalidated; None: never.

    Older entries must not be used. The time is converted to this worker's clock, the clock of its
    cache entries.
    """
    name = f"{REFRESH}{key}"
    signal = signals.read(name, RefreshSignal)
    if signal is None:
        return None
    return signals.published_at(name, signal.at, datetime.now(UTC))
