import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.download.download_task import REPORT_SECONDS, ProgressMeter
from schemas.events import Progress
from schemas.video import VideoFormat
from tests.unit.agents.builders import FORMAT, Clock

PICTURES = [
    VideoFormat(format_id="image-1", container="jpeg", bytes=100, picture=1),
    VideoFormat(format_id="image-2", container="jpeg", bytes=200, picture=2),
    VideoFormat(format_id="audio", container="m4a", audio_codec="aac"),
]
ID = FORMAT.format_id


def make_meter(clock: Clock, *formats: VideoFormat) -> ProgressMeter:
    return ProgressMeter("r1", "tiktok:1", formats or [FORMAT], clock)


def existing(report: Progress | None) -> Progress:
    assert report is not None
    return report


def test_report_has_speed_and_eta() -> None:
    clock = Clock()
    meter = make_meter(clock)
    clock.now += 2
    report = existing(meter.update(ID, 500, 2_000))
    assert (report.request_id, report.video_key, report.format_id) == ("r1", "tiktok:1", ID)
    assert (report.bytes, report.total_bytes) == (500, 2_000)
    assert (report.bytes_per_second, report.eta_seconds) == (250.0, 6.0)
    assert (report.files_done, report.files_total) == (0, 1)


def test_unknown_size_leaves_the_eta_unknown() -> None:
    clock = Clock()
    meter = make_meter(clock)
    clock.now += 1
    report = existing(meter.update(ID, 500, None))
    assert (report.total_bytes, report.eta_seconds) == (None, None)


def test_first_report_is_rate_limited_too() -> None:
    assert make_meter(Clock()).update(ID, 1, 10) is None


def test_reports_are_rate_limited() -> None:
    clock = Clock()
    meter = make_meter(clock)
    reports: list[Progress | None] = []
    for done in range(1, 100):
        clock.now += REPORT_SECONDS / 10
        reports.append(meter.update(ID, done, 1_000))
    assert sum(report is not None for report in reports) == 9


@pytest.mark.parametrize("total", [10, None, 9], ids=["known size", "unknown size", "wrong size"])
def test_completion_is_reported_at_once(total: int | None) -> None:
    meter = make_meter(Clock())
    assert meter.update(ID, 10, total) is None
    end = existing(meter.finish(ID, 10))
    assert (end.bytes, end.total_bytes) == (10, 10)
    assert (end.files_done, end.files_total) == (1, 1)


def test_last_byte_is_reported_once_with_the_completion() -> None:
    clock = Clock()
    meter = make_meter(clock)
    clock.now += 2 * REPORT_SECONDS
    assert meter.update(ID, 10, 10) is None
    assert existing(meter.finish(ID, 10)).bytes == 10


def test_zero_time_and_zero_bytes_do_not_divide_by_zero() -> None:
    report = existing(make_meter(Clock()).finish(ID, 0))
    assert (report.bytes_per_second, report.eta_seconds) == (0.0, None)


def test_bytes_above_the_total_give_no_negative_eta() -> None:
    clock = Clock()
    meter = make_meter(clock)
    clock.now += 1
    assert existing(meter.update(ID, 20, 10)).eta_seconds == 0.0


# Several files


def test_files_of_a_post_are_summed() -> None:
    clock = Clock()
    meter = make_meter(clock, *PICTURES)
    clock.now += 1
    first = existing(meter.update("image-1", 60, 120))
    assert (first.bytes, first.total_bytes, first.files_done, first.files_total) == (60, None, 0, 3)
    assert meter.finish("image-1", 120) is None
    clock.now += 1
    second = existing(meter.update("audio", 40, 400))
    assert (second.format_id, second.bytes, second.total_bytes) == ("audio", 160, 720)
    assert (second.bytes_per_second, second.eta_seconds) == (80.0, 7.0)
    assert second.files_done == 1


def test_completion_is_reported_after_the_last_file() -> None:
    meter = make_meter(Clock(), *PICTURES)
    assert meter.finish("image-2", 200) is None
    assert meter.finish("audio", 300) is None
    end = existing(meter.finish("image-1", 100))
    assert (end.bytes, end.total_bytes, end.files_done) == (600, 600, 3)


def test_reused_files_do_not_count_towards_the_speed() -> None:
    clock = Clock()
    meter = make_meter(clock, *PICTURES)
    meter.finish("image-1", 1_000, reused=True)
    clock.now += 2
    report = existing(meter.update("image-2", 100, 200))
    assert (report.bytes, report.bytes_per_second) == (1_100, 50.0)


def test_restarted_file_is_not_counted_twice() -> None:
    clock = Clock()
    meter = make_meter(clock)
    meter.update(ID, 900, 1_000)
    clock.now += 1
    assert existing(meter.update(ID, 100, 1_000)).bytes == 100


@given(
    st.lists(
        st.tuples(
            st.floats(0, 3),
            st.sampled_from([each.format_id for each in PICTURES]),
            st.integers(0, 10**12),
            st.none() | st.integers(0, 10**12),
        ),
        max_size=30,
    )
)
def test_reports_never_exceed_the_rate(
    steps: list[tuple[float, str, int, int | None]],
) -> None:
    clock = Clock(0)
    meter = make_meter(clock, *PICTURES)
    last = 0.0
    for pause, format_id, done, total in steps:
        clock.now += pause
        if meter.update(format_id, done, total) is not None:
            assert clock.now - last >= REPORT_SECONDS
            last = clock.now
