from collections.abc import Callable

import pytest

from streams.runtime.offset_tracker import InOrderAcks, SkippedOffsetsError

P = ("requests", 0)
Q = ("requests", 1)


class Log:
    """What was acknowledged, as ``<offset>`` or ``<offset>@<generation>``."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def ack(self, name: object) -> Callable[[], None]:
        return lambda: self.names.append(str(name))


def delivered(*offsets: int, log: Log) -> InOrderAcks:
    acks = InOrderAcks()
    for offset in offsets:
        assert acks.deliver(P, offset, log.ack(offset))
    return acks


@pytest.mark.parametrize(
    ("finished", "acknowledged"),
    [
        pytest.param([], [], id="nothing finished"),
        pytest.param([0], ["0"], id="the head"),
        pytest.param([1, 2, 3], [], id="everything but the head"),
        pytest.param([3, 2, 1, 0], ["0", "1", "2", "3"], id="backwards"),
        pytest.param([1, 0, 3], ["0", "1"], id="up to the first unfinished"),
        pytest.param([2, 0, 1], ["0", "1", "2"], id="a hole that is filled"),
        pytest.param([0, 0, 0], ["0"], id="finished thrice"),
        pytest.param([9], [], id="never delivered"),
    ],
)
def test_acknowledged_is_the_finished_beginning(
    finished: list[int], acknowledged: list[str]
) -> None:
    log = Log()
    acks = delivered(0, 1, 2, 3, log=log)
    for offset in finished:
        acks.finish(P, offset)
    assert log.names == acknowledged
    assert len(acks) == 4 - len(acknowledged)


def test_partitions_do_not_wait_for_each_other() -> None:
    log = Log()
    acks = delivered(0, 1, log=log)
    acks.deliver(Q, 5, log.ack("other"))
    acks.finish(Q, 5)
    assert log.names == ["other"]


# Timestamps


def written(*records: tuple[int, float]) -> InOrderAcks:
    acks = InOrderAcks()
    for offset, timestamp in records:
        acks.deliver(P, offset, lambda: None, timestamp=timestamp)
    return acks


@pytest.mark.parametrize(
    ("committed", "timestamp"),
    [
        pytest.param(0, 100.0, id="nothing committed"),
        pytest.param(1, 100.0, id="less than a second later counts as the same"),
        pytest.param(2, 105.0, id="the next one"),
        pytest.param(4, 90.0, id="an older one behind it"),
        pytest.param(5, None, id="not delivered"),
        pytest.param(99, None, id="far ahead"),
    ],
)
def test_the_timestamp_is_that_of_the_first_record_that_is_not_committed(
    committed: int, timestamp: float | None
) -> None:
    acks = written((0, 100.0), (1, 100.9), (2, 105.0), (3, 105.5), (4, 90.0))
    assert acks.timestamp(P, committed) == timestamp


def test_the_timestamp_of_a_finished_record_is_known_until_it_is_committed() -> None:
    acks = written((0, 100.0), (1, 200.0))
    acks.finish(P, 0)
    acks.finish(P, 1)
    assert acks.timestamp(P, 0) == 100.0
    assert acks.timestamp(P, 2) is None


@pytest.mark.parametrize("timestamp", [None, 0.0])
def test_a_record_without_timestamp_has_none(timestamp: float | None) -> None:
    acks = InOrderAcks()
    acks.deliver(P, 0, lambda: None, timestamp=timestamp)
    assert acks.timestamp(P, 0) is None


def test_an_unknown_partition_has_no_timestamp() -> None:
    assert InOrderAcks().timestamp(P, 0) is None


def test_a_rebalance_forgets_the_timestamps_until_the_records_come_again() -> None:
    acks = written((0, 100.0), (1, 200.0))
    acks.suspend()
    assert acks.timestamp(P, 0) is None
    acks.deliver(P, 0, lambda: None, committed=0, timestamp=100.0)
    assert acks.timestamp(P, 0) == 100.0


def test_records_of_one_second_share_one_kept_timestamp() -> None:
    acks = written(*((offset, 100.0 + offset / 2_000) for offset in range(10_000)))
    assert len(acks._partitions[P].timestamps) == 5
    acks.timestamp(P, 9_000)
    assert len(acks._partitions[P].timestamps) == 1


def test_an_unknown_partition_is_finished_without_harm() -> None:
    InOrderAcks().finish(P, 0)


def test_a_stale_event_is_never_acknowledged() -> None:
    log = Log()
    acks = delivered(0, 1, log=log)
    acks.suspend()
    acks.finish(P, 0)
    assert log.names == []


def test_running_work_is_not_repeated_and_acknowledges_the_new_copy() -> None:
    log = Log()
    acks = delivered(0, 1, log=log)
    acks.suspend()
    assert not acks.deliver(P, 0, log.ack("0 again"))
    acks.finish(P, 0)
    assert log.names == ["0 again"]


def test_work_that_ended_meanwhile_is_acknowledged_when_its_event_comes_again() -> None:
    log = Log()
    acks = delivered(0, 1, log=log)
    acks.suspend()
    acks.finish(P, 1)
    acks.finish(P, 0)
    assert not acks.deliver(P, 0, log.ack("0 again"))
    assert log.names == ["0 again"]
    assert not acks.deliver(P, 1, log.ack("1 again"))
    assert log.names == ["0 again", "1 again"]


def test_acknowledged_but_not_committed_work_is_done_again() -> None:
    log = Log()
    acks = delivered(0, 1, log=log)
    acks.finish(P, 0)
    acks.suspend()
    assert acks.deliver(P, 0, log.ack("0 again"))
    assert not acks.deliver(P, 1, log.ack("1 again"))
    acks.finish(P, 1)
    assert log.names == ["0"]
    acks.finish(P, 0)
    assert log.names == ["0", "0 again", "1 again"]


def test_work_of_a_lost_partition_is_forgotten() -> None:
    log = Log()
    acks = delivered(0, log=log)
    acks.deliver(Q, 0, log.ack("other"))
    acks.suspend()
    acks.retain({Q})
    acks.finish(P, 0)
    assert acks.deliver(P, 0, log.ack("0 again"))
    assert log.names == []
    assert len(acks) == 2


@pytest.mark.parametrize("following", [2, 7], ids=["skipped", "far"])
def test_offsets_that_do_not_follow_are_refused(following: int) -> None:
    log = Log()
    acks = delivered(0, log=log)
    with pytest.raises(SkippedOffsetsError, match=f"requests-0: 0 is followed by {following}"):
        acks.deliver(P, following, log.ack(following))
    assert len(acks) == 1


def test_events_that_come_again_without_a_rebalance_are_not_repeated_while_they_run() -> None:
    log = Log()
    acks = delivered(0, 1, 2, log=log)
    acks.finish(P, 0)
    assert acks.deliver(P, 0, log.ack("0 again"))
    assert not acks.deliver(P, 1, log.ack("1 again"))
    assert not acks.deliver(P, 2, log.ack("2 again"))
    for offset in (2, 1, 0):
        acks.finish(P, offset)
    assert log.names == ["0", "0 again", "1 again", "2 again"]
    assert acks.deliver(P, 3, log.ack(3))


def test_gap_that_the_fetcher_reported_is_passed_over() -> None:
    log = Log()
    acks = delivered(0, log=log)
    acks.pass_over(P, 1, 3, log.ack("gap"))
    assert acks.deliver(P, 3, log.ack(3))
    acks.finish(P, 3)
    assert log.names == []
    acks.finish(P, 0)
    assert log.names == ["0", "gap", "3"]
    assert len(acks) == 0


def test_gap_is_reported_before_the_events_in_front_of_it_are_delivered() -> None:
    log = Log()
    acks = InOrderAcks()
    acks.pass_over(P, 6, 7, log.ack("gap 6"), committed=5)
    acks.pass_over(P, 8, 10, log.ack("gap 8"), committed=5)
    for offset in (5, 7):
        assert acks.deliver(P, offset, log.ack(offset), committed=5)
        acks.finish(P, offset)
    assert log.names == ["5", "gap 6", "7", "gap 8"]


def test_gap_at_the_end_is_acknowledged_when_everything_before_it_is() -> None:
    log = Log()
    acks = delivered(0, log=log)
    acks.finish(P, 0)
    acks.pass_over(P, 1, 2, log.ack("gap"))
    assert log.names == ["0", "gap"]
    assert acks.delivered(P) == 1


def test_partition_that_begins_with_a_gap_and_has_nothing_else_is_acknowledged() -> None:
    log = Log()
    acks = InOrderAcks()
    acks.pass_over(P, 5, 6, log.ack("gap"), committed=5)
    assert (log.names, acks.delivered(P), len(acks)) == (["gap"], 5, 0)


def test_reported_gap_does_not_excuse_a_dropped_event_behind_it() -> None:
    acks = delivered(0, log=Log())
    acks.pass_over(P, 1, 2, Log().ack("gap"))
    with pytest.raises(SkippedOffsetsError, match="requests-0: 1 is followed by 3"):
        acks.deliver(P, 3, Log().ack(3))


def test_event_dropped_in_front_of_a_gap_is_not_excused() -> None:
    acks = delivered(0, log=Log())
    acks.pass_over(P, 2, 3, Log().ack("gap"))
    with pytest.raises(SkippedOffsetsError, match="requests-0: 0 is followed by 3"):
        acks.deliver(P, 3, Log().ack(3))


def test_gap_that_is_reported_again_after_a_rebalance_is_acknowledged_once() -> None:
    log = Log()
    acks = delivered(0, log=log)
    acks.pass_over(P, 1, 2, log.ack("gap"))
    acks.suspend()
    acks.pass_over(P, 1, 2, log.ack("gap again"), committed=0)
    assert not acks.deliver(P, 0, log.ack("0 again"), committed=0)
    assert acks.deliver(P, 2, log.ack(2), committed=0)
    acks.finish(P, 2)
    acks.finish(P, 0)
    assert log.names == ["0 again", "gap again", "2"]


def test_partition_of_a_new_log_begins_where_it_is_told_and_forgets_the_old_work() -> None:
    log = Log()
    acks = delivered(0, 1, log=log)
    acks.restart(P)
    assert acks.deliver(P, 0, log.ack("new 0"), committed=0)
    assert len(acks) == 1


def test_a_gap_right_after_a_rebalance_is_where_reading_goes_on() -> None:
    log = Log()
    acks = delivered(0, log=log)
    acks.finish(P, 0)
    acks.suspend()
    assert acks.deliver(P, 5, log.ack(5))


def test_a_worker_that_was_frozen_while_others_went_on_starts_again() -> None:
    # Its unfinished events were committed by another owner and never come again: waiting for
    # them would stop the partition for ever.
    log = Log()
    acks = delivered(0, 1, log=log)
    acks.suspend()
    acks.retain({P})
    with pytest.raises(SkippedOffsetsError, match="goes on at 2, but 0 is still in flight"):
        acks.deliver(P, 2, log.ack(2))


def test_a_first_event_that_is_not_the_next_to_read_was_dropped() -> None:
    with pytest.raises(SkippedOffsetsError, match="requests-0: 4 is followed by 6"):
        InOrderAcks().deliver(P, 6, Log().ack(6), committed=5)


@pytest.mark.parametrize(("offset", "committed"), [(5, 5), (4, 5), (0, 0), (7, None)])
def test_reading_begins_at_the_committed_offset(offset: int, committed: int | None) -> None:
    assert InOrderAcks().deliver(P, offset, Log().ack(offset), committed=committed)


def test_the_committed_offset_counts_for_the_first_event_only() -> None:
    acks = InOrderAcks()
    assert acks.deliver(P, 5, Log().ack(5), committed=5)
    assert acks.deliver(P, 6, Log().ack(6), committed=5)
