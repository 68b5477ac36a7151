from datetime import UTC, datetime, timedelta

import pytest

from agents.pipeline.cache_invalidation import invalidated_at
from schemas.codec import encode
from schemas.signals import RefreshSignal
from streams.cluster.shared_state import SharedState
from tests.unit.agents.builders import PAST, VIDEO


def test_latest_invalidation_counts() -> None:
    signals = SharedState()
    assert invalidated_at(signals, VIDEO.key) is None
    key, invalidation = f"refresh/{VIDEO.key}", encode(RefreshSignal(by="ann", at=PAST))
    signals.put(key, invalidation, live=False)
    assert invalidated_at(signals, VIDEO.key) == PAST
    assert invalidated_at(signals, "tiktok:1") is None
    signals.put(f"refresh/{VIDEO.key}", None)
    assert invalidated_at(signals, VIDEO.key) is None


@pytest.mark.parametrize("ahead", [-600, 600])
def test_invalidation_counts_from_its_arrival_under_clock_skew(
    ahead: float,
) -> None:
    signals, now = SharedState(), datetime.now(UTC)
    invalidation = RefreshSignal(by="ann", at=now + timedelta(seconds=ahead))
    signals.put(f"refresh/{VIDEO.key}", encode(invalidation))
    found = invalidated_at(signals, VIDEO.key)
    assert found is not None
    assert abs(found - now) < timedelta(seconds=5)


@pytest.mark.parametrize("value", [b"", b"\xff", b"{}", b'{"by":"a","at":"soon"}'])
def test_undecodable_invalidation_is_ignored(value: bytes) -> None:
    signals = SharedState()
    signals.put(f"refresh/{VIDEO.key}", value)
    assert invalidated_at(signals, VIDEO.key) is None
