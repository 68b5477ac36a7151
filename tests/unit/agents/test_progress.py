from hypothesis import given
from hypothesis import strategies as st

from agents.progress import REPORT_SECONDS, ProgressMeter
from schemas.progress import Progress
from tests.unit.agents.builders import FORMAT, Clock


def make_meter(clock: Clock) -> ProgressMeter:
    return ProgressMeter("r1", "tiktok:1", FORMAT, clock)


def test_a_report_tells_speed_and_time_left() -> None:
    clock = Clock()
    meter = make_meter(clock)
    clock.now += 2
    report = meter.update(500, 2_000)
    assert report is not None
    assert (report.request_id, report.video_key, report.format_id) == (
        "r1",
        "tiktok:1",
        FORMAT.format_id,
    )
    assert (report.bytes, report.total_bytes) == (500, 2_000)
    assert (report.bytes_per_second, report.eta_seconds) == (250.0, 6.0)


def test_an_unknown_size_leaves_the_time_left_unknown() -> None:
    clock = Clock()
    meter = make_meter(clock)
    clock.now += 1
    report = meter.update(500, None)
    assert report is not None
    assert (report.total_bytes, report.eta_seconds) == (None, None)


def test_the_first_report_waits_too() -> None:
    assert make_meter(Clock()).update(1, 10) is None


def test_nothing_is_told_twice_within_the_pause() -> None:
    clock = Clock()
    meter = make_meter(clock)
    told: list[Progress | None] = []
    for done in range(1, 100):
        clock.now += REPORT_SECONDS / 10
        told.append(meter.update(done, 1_000))
    assert sum(report is not None for report in told) == 9


def test_the_end_is_told_at_once_and_only_once() -> None:
    meter = make_meter(Clock())
    end = meter.update(10, 10)
    assert end is not None
    assert (end.bytes, end.total_bytes) == (10, 10)
    assert meter.finish(10) is None


def test_the_end_is_told_when_the_size_was_unknown() -> None:
    meter = make_meter(Clock())
    assert meter.update(10, None) is None
    end = meter.finish(10)
    assert end is not None
    assert (end.bytes, end.total_bytes) == (10, 10)


def test_the_end_is_told_when_the_size_was_told_wrong() -> None:
    clock = Clock()
    meter = make_meter(clock)
    clock.now += 1
    assert meter.update(8, 9) is not None
    end = meter.finish(10)
    assert end is not None
    assert end.bytes == 10


def test_no_time_and_no_bytes_divide_nothing() -> None:
    report = make_meter(Clock()).update(0, 0)
    assert report is not None
    assert (report.bytes_per_second, report.eta_seconds) == (0.0, None)


def test_more_than_the_total_leaves_no_negative_time() -> None:
    clock = Clock()
    meter = make_meter(clock)
    clock.now += 1
    report = meter.update(20, 10)
    assert report is not None
    assert report.eta_seconds == 0.0


@given(
    st.lists(
        st.tuples(
            st.floats(0, 3),
            st.integers(0, 10**12),
            st.none() | st.integers(0, 10**12),
        ),
        max_size=30,
    )
)
def test_reports_never_come_faster_than_allowed(
    steps: list[tuple[float, int, int | None]],
) -> None:
    clock = Clock(0)
    meter = make_meter(clock)
    last = 0.0
    for pause, done, total in steps:
        clock.now += pause
        if meter.update(done, total) is not None:
            assert clock.now - last >= REPORT_SECONDS or done == total
            last = clock.now
