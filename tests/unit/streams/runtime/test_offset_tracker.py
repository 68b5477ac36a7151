from collections.abc import Callable

import pytest

from streams.runtime.offset_tracker import OffsetTracker, SkippedOffsetsError

P = ("requests", 0)
Q = ("requests", 1)


class AckLog:
    """Names of the acknowledged records, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def ack(self, name: object) -> Callable[[], None]:
        return lambda: self.names.append(str(name))


def delivered(*delivered_offsets: int, log: AckLog) -> OffsetTracker:
    offsets = OffsetTracker()
    for offset in delivered_offsets:
        assert offsets.deliver(P, offset, log.ack(offset))
    return offsets


@pytest.mark.parametrize(
    ("finished", "acknowledged"),
    [
        pytest.param([], [], id="nothing finished"),
        pytest.param([0], ["0"], id="the head"),
        pytest.param([1, 2, 3], [], id="everything but the head"),
        pytest.param([3, 2, 1, 0], ["0", "1", "2", "3"], id="backwards"),
        pytest.param([1, 0, 3], ["0", "1"], id="up to the first unfinished"),
        pytest.param([2, 0, 1], ["0", "1", "2"], id="gap that is filled"),
        pytest.param([0, 0, 0], ["0"], id="finished three times"),
        pytest.param([9], [], id="never delivered"),
    ],
)
def test_finished_prefix_is_acknowledged(finished: list[int], acknowledged: list[str]) -> None:
    log = AckLog()
    offsets = delivered(0, 1, 2, 3, log=log)
    for offset in finished:
        offsets.finish(P, offset)
    assert log.names == acknowledged
    assert len(offsets) == 4 - len(acknowledged)


def test_partitions_are_independent() -> None:
    log = AckLog()
    offsets = delivered(0, 1, log=log)
    offsets.deliver(Q, 5, log.ack("other"))
    offsets.finish(Q, 5)
    assert log.names == ["other"]


# Timestamps


def delivered_with_timestamps(*records: tuple[int, float]) -> OffsetTracker:
    offsets = OffsetTracker()
    for offset, timestamp in records:
        offsets.deliver(P, offset, lambda: None, timestamp=timestamp)
    return offsets


@pytest.mark.parametrize(
    ("committed", "timestamp"),
    [
        pytest.param(0, 100.0, id="nothing committed"),
        pytest.param(1, 100.0, id="less than a second later counts as the same"),
        pytest.param(2, 105.0, id="the next one"),
        pytest.param(4, 90.0, id="older one after it"),
        pytest.param(5, None, id="not delivered"),
        pytest.param(99, None, id="far ahead"),
    ],
)
def test_timestamp_is_that_of_the_first_uncommitted_record(
    committed: int, timestamp: float | None
) -> None:
    offsets = delivered_with_timestamps((0, 100.0), (1, 100.9), (2, 105.0), (3, 105.5), (4, 90.0))
    assert offsets.timestamp(P, committed) == timestamp


def test_timestamp_of_a_finished_record_is_kept_until_its_commit() -> None:
    offsets = delivered_with_timestamps((0, 100.0), (1, 200.0))
    offsets.finish(P, 0)
    offsets.finish(P, 1)
    assert offsets.timestamp(P, 0) == 100.0
    assert offsets.timestamp(P, 2) is None


@pytest.mark.parametrize("timestamp", [None, 0.0])
def test_a_record_without_timestamp_has_none(timestamp: float | None) -> None:
    offsets = OffsetTracker()
    offsets.deliver(P, 0, lambda: None, timestamp=timestamp)
    assert offsets.timestamp(P, 0) is None


def test_an_unknown_partition_has_no_timestamp() -> None:
    assert OffsetTracker().timestamp(P, 0) is None


def test_rebalance_drops_the_timestamps_until_redelivery() -> None:
    offsets = delivered_with_timestamps((0, 100.0), (1, 200.0))
    offsets.suspend()
    assert offsets.timestamp(P, 0) is None
    offsets.deliver(P, 0, lambda: None, committed=0, timestamp=100.0)
    assert offsets.timestamp(P, 0) == 100.0


def test_records_of_one_second_share_one_kept_timestamp() -> None:
    offsets = delivered_with_timestamps(
        *((offset, 100.0 + offset / 2_000) for offset in range(10_000))
    )
    assert len(offsets._partitions[P].timestamps) == 5
    offsets.timestamp(P, 9_000)
    assert len(offsets._partitions[P].timestamps) == 1


def test_finish_in_an_unknown_partition_is_a_no_op() -> None:
    OffsetTracker().finish(P, 0)


def test_stale_event_is_never_acknowledged() -> None:
    log = AckLog()
    offsets = delivered(0, 1, log=log)
    offsets.suspend()
    offsets.finish(P, 0)
    assert log.names == []


def test_in_flight_record_is_not_restarted_and_acknowledges_its_redelivery() -> None:
    log = AckLog()
    offsets = delivered(0, 1, log=log)
    offsets.suspend()
    assert not offsets.deliver(P, 0, log.ack("0 again"))
    offsets.finish(P, 0)
    assert log.names == ["0 again"]


def test_record_finished_during_a_rebalance_is_acknowledged_on_redelivery() -> None:
    log = AckLog()
    offsets = delivered(0, 1, log=log)
    offsets.suspend()
    offsets.finish(P, 1)
    offsets.finish(P, 0)
    assert not offsets.deliver(P, 0, log.ack("0 again"))
    assert log.names == ["0 again"]
    assert not offsets.deliver(P, 1, log.ack("1 again"))
    assert log.names == ["0 again", "1 again"]


def test_acknowledged_but_uncommitted_record_is_processed_again() -> None:
    log = AckLog()
    offsets = delivered(0, 1, log=log)
    offsets.finish(P, 0)
    offsets.suspend()
    assert offsets.deliver(P, 0, log.ack("0 again"))
    assert not offsets.deliver(P, 1, log.ack("1 again"))
    offsets.finish(P, 1)
    assert log.names == ["0"]
    offsets.finish(P, 0)
    assert log.names == ["0", "0 again", "1 again"]


def test_records_of_a_revoked_partition_are_dropped() -> None:
    log = AckLog()
    offsets = delivered(0, log=log)
    offsets.deliver(Q, 0, log.ack("other"))
    offsets.suspend()
    offsets.retain({Q})
    offsets.finish(P, 0)
    assert offsets.deliver(P, 0, log.ack("0 again"))
    assert log.names == []
    assert len(offsets) == 2


@pytest.mark.parametrize("following", [2, 7], ids=["skipped", "far"])
def test_non_contiguous_offset_raises(following: int) -> None:
    log = AckLog()
    offsets = delivered(0, log=log)
    with pytest.raises(SkippedOffsetsError, match=f"requests-0: 0 is followed by {following}"):
        offsets.deliver(P, following, log.ack(following))
    assert len(offsets) == 1


def test_redelivery_without_a_rebalance_does_not_restart_in_flight_records() -> None:
    log = AckLog()
    offsets = delivered(0, 1, 2, log=log)
    offsets.finish(P, 0)
    assert offsets.deliver(P, 0, log.ack("0 again"))
    assert not offsets.deliver(P, 1, log.ack("1 again"))
    assert not offsets.deliver(P, 2, log.ack("2 again"))
    for offset in (2, 1, 0):
        offsets.finish(P, offset)
    assert log.names == ["0", "0 again", "1 again", "2 again"]
    assert offsets.deliver(P, 3, log.ack(3))


def test_gap_reported_by_the_fetcher_is_skipped() -> None:
    log = AckLog()
    offsets = delivered(0, log=log)
    offsets.skip_gap(P, 1, 3, log.ack("gap"))
    assert offsets.deliver(P, 3, log.ack(3))
    offsets.finish(P, 3)
    assert log.names == []
    offsets.finish(P, 0)
    assert log.names == ["0", "gap", "3"]
    assert len(offsets) == 0


def test_gap_may_be_reported_before_the_preceding_events_are_delivered() -> None:
    log = AckLog()
    offsets = OffsetTracker()
    offsets.skip_gap(P, 6, 7, log.ack("gap 6"), committed=5)
    offsets.skip_gap(P, 8, 10, log.ack("gap 8"), committed=5)
    for offset in (5, 7):
        assert offsets.deliver(P, offset, log.ack(offset), committed=5)
        offsets.finish(P, offset)
    assert log.names == ["5", "gap 6", "7", "gap 8"]


def test_gap_at_the_end_is_acknowledged_when_everything_before_it_is() -> None:
    log = AckLog()
    offsets = delivered(0, log=log)
    offsets.finish(P, 0)
    offsets.skip_gap(P, 1, 2, log.ack("gap"))
    assert log.names == ["0", "gap"]
    assert offsets.delivered(P) == 1


def test_partition_with_nothing_but_a_leading_gap_is_acknowledged() -> None:
    log = AckLog()
    offsets = OffsetTracker()
    offsets.skip_gap(P, 5, 6, log.ack("gap"), committed=5)
    assert (log.names, offsets.delivered(P), len(offsets)) == (["gap"], 5, 0)


def test_event_dropped_after_a_reported_gap_raises() -> None:
    offsets = delivered(0, log=AckLog())
    offsets.skip_gap(P, 1, 2, AckLog().ack("gap"))
    with pytest.raises(SkippedOffsetsError, match="requests-0: 1 is followed by 3"):
        offsets.deliver(P, 3, AckLog().ack(3))


def test_event_dropped_before_a_reported_gap_raises() -> None:
    offsets = delivered(0, log=AckLog())
    offsets.skip_gap(P, 2, 3, AckLog().ack("gap"))
    with pytest.raises(SkippedOffsetsError, match="requests-0: 0 is followed by 3"):
        offsets.deliver(P, 3, AckLog().ack(3))


def test_gap_that_is_reported_again_after_a_rebalance_is_acknowledged_once() -> None:
    log = AckLog()
    offsets = delivered(0, log=log)
    offsets.skip_gap(P, 1, 2, log.ack("gap"))
    offsets.suspend()
    offsets.skip_gap(P, 1, 2, log.ack("gap again"), committed=0)
    assert not offsets.deliver(P, 0, log.ack("0 again"), committed=0)
    assert offsets.deliver(P, 2, log.ack(2), committed=0)
    offsets.finish(P, 2)
    offsets.finish(P, 0)
    assert log.names == ["0 again", "gap again", "2"]


def test_reset_partition_starts_at_the_given_offset_without_old_records() -> None:
    log = AckLog()
    offsets = delivered(0, 1, log=log)
    offsets.reset(P)
    assert offsets.deliver(P, 0, log.ack("new 0"), committed=0)
    assert len(offsets) == 1


def test_gap_right_after_a_rebalance_is_accepted() -> None:
    log = AckLog()
    offsets = delivered(0, log=log)
    offsets.finish(P, 0)
    offsets.suspend()
    assert offsets.deliver(P, 5, log.ack(5))


def test_worker_frozen_while_another_owner_progressed_raises() -> None:
    # Its unfinished events were committed by another owner and are never redelivered: waiting
    # for them would block the partition forever.
    log = AckLog()
    offsets = delivered(0, 1, log=log)
    offsets.suspend()
    offsets.retain({P})
    with pytest.raises(SkippedOffsetsError, match="goes on at 2, but 0 is still in flight"):
        offsets.deliver(P, 2, log.ack(2))


def test_first_event_beyond_the_committed_offset_raises() -> None:
    with pytest.raises(SkippedOffsetsError, match="requests-0: 4 is followed by 6"):
        OffsetTracker().deliver(P, 6, AckLog().ack(6), committed=5)


@pytest.mark.parametrize(("offset", "committed"), [(5, 5), (4, 5), (0, 0), (7, None)])
def test_first_event_up_to_the_committed_offset_is_accepted(
    offset: int, committed: int | None
) -> None:
    assert OffsetTracker().deliver(P, offset, AckLog().ack(offset), committed=committed)


def test_committed_offset_applies_to_the_first_event_only() -> None:
    offsets = OffsetTracker()
    assert offsets.deliver(P, 5, AckLog().ack(5), committed=5)
    assert offsets.deliver(P, 6, AckLog().ack(6), committed=5)
