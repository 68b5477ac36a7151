import pytest

from agents.remembering.freshness import refreshed_at
from schemas.codec import encode
from schemas.signals import RefreshSignal
from streams.signals import Signals
from tests.unit.agents.builders import PAST, VIDEO


def test_the_newest_order_counts() -> None:
    signals = Signals()
    assert refreshed_at(signals, VIDEO.key) is None
    signals.put(f"refresh/{VIDEO.key}", encode(RefreshSignal(by="ann", at=PAST)))
    assert refreshed_at(signals, VIDEO.key) == PAST
    assert refreshed_at(signals, "tiktok:1") is None
    signals.put(f"refresh/{VIDEO.key}", None)
    assert refreshed_at(signals, VIDEO.key) is None


@pytest.mark.parametrize("value", [b"", b"\xff", b"{}", b'{"by":"a","at":"soon"}'])
def test_what_nobody_can_read_orders_nothing(value: bytes) -> None:
    signals = Signals()
    signals.put(f"refresh/{VIDEO.key}", value)
    assert refreshed_at(signals, VIDEO.key) is None
