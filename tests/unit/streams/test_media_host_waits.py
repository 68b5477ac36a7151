from datetime import UTC, datetime, timedelta

import pytest

from agents.network.addresses import parse_media_url
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.signals import MEDIA_HOST, MediaHostWait
from streams.cluster.shared_state import SharedState
from streams.media_host_waits import (
    HOSTS_MAX,
    HOSTS_PER_VIDEO_MAX,
    VIDEOS_MAX,
    MediaHostWaits,
    WaitingHost,
    follow_media_host_waits,
    is_host_name,
    read_waiting_hosts,
    unknown_hosts,
    videos_wait,
)

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOST = "new.cdn.example"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def wait(
    video: str, host: str = HOST, *, platform: str = "mine", seconds: float = 60
) -> MediaHostWait:
    return MediaHostWait(
        platform=platform, host=host, video=video, until=NOW + timedelta(seconds=seconds), at=NOW
    )


def waits_of(*states: MediaHostWait, clock: Clock | None = None) -> MediaHostWaits:
    waits = MediaHostWaits(clock or Clock())
    for each in states:
        waits.apply(f"{MEDIA_HOST}{each.name}", encode(each))
    return waits


def counts(waits: MediaHostWaits) -> list[tuple[str, str, int]]:
    return [(each.platform, each.host, each.videos) for each in waits.hosts()]


def test_videos_are_counted_once_per_platform_and_host() -> None:
    waits = waits_of(
        wait("mine:1"),
        wait("mine:1"),
        wait("mine:2"),
        wait("mine:1", "b.example"),
        wait("yours:1", platform="yours"),
    )
    assert counts(waits) == [("mine", HOST, 2), ("mine", "b.example", 1), ("yours", HOST, 1)]
    assert waits.videos("mine", HOST) == {"mine:1", "mine:2"}
    assert waits.videos("mine", "c.example") == set()


def test_wait_ends_by_itself_unless_it_is_published_again() -> None:
    clock = Clock()
    waits = waits_of(wait("mine:1"), wait("mine:2", seconds=90), clock=clock)
    clock.now += timedelta(seconds=60)
    assert counts(waits) == [("mine", HOST, 1)]
    assert waits.ended() == [f"{MEDIA_HOST}mine/{HOST}/mine:1"]
    again = wait("mine:1", seconds=120)
    waits.apply(f"{MEDIA_HOST}{again.name}", encode(again))
    assert counts(waits) == [("mine", HOST, 2)]
    assert waits.ended() == []


def test_tombstone_removes_a_wait() -> None:
    waits = waits_of(wait("mine:1"))
    waits.apply(f"{MEDIA_HOST}mine/{HOST}/mine:1", None)
    waits.apply(f"{MEDIA_HOST}never", None)
    assert counts(waits) == []
    assert waits.of_video("mine:1") == []


def test_bounds_are_per_platform_and_host() -> None:
    waits = waits_of(*(wait(f"mine:{number}") for number in range(VIDEOS_MAX)))
    assert not waits.has_room("mine", HOST, "mine:new")
    assert waits.has_room("mine", HOST, "mine:1")
    assert waits.has_room("mine", "b.example", "mine:new")
    waits = waits_of(*(wait("mine:1", f"h{number}.example") for number in range(HOSTS_MAX)))
    assert not waits.has_room("mine", HOST, "mine:1")
    assert waits.has_room("mine", "h1.example", "mine:2")
    assert waits.has_room("yours", HOST, "yours:1")


@pytest.mark.parametrize("value", [b"", b"x", b"{}"])
def test_malformed_state_is_left_out(value: bytes) -> None:
    assert read_waiting_hosts([(f"{MEDIA_HOST}a", value)]) == []


@pytest.mark.parametrize("host", ["\x1b[2J.example", "10.0.0.1", "a." * 5_000 + "com"], ids=ascii)
def test_state_of_what_is_no_host_name_is_left_out(host: str) -> None:
    assert counts(waits_of(wait("mine:1", host))) == []


def test_state_under_the_key_of_another_is_left_out() -> None:
    waits = waits_of(wait("mine:1"))
    waits.apply(f"{MEDIA_HOST}other", encode(wait("mine:1")))
    waits.apply(f"{MEDIA_HOST}mine/{HOST}/mine:1", None)
    waits.apply(f"{MEDIA_HOST}other", None)
    assert counts(waits) == []


def test_hosts_of_the_shared_state_are_followed_during_the_block() -> None:
    state, each = SharedState(), wait("mine:1", seconds=10**9)
    state.put(f"{MEDIA_HOST}{each.name}", encode(each))
    with follow_media_host_waits(state) as waits:
        assert counts(waits) == [("mine", HOST, 1)]
        state.put(f"{MEDIA_HOST}{each.name}", None)
        assert counts(waits) == []
    state.put(f"{MEDIA_HOST}{each.name}", encode(each))
    assert counts(waits) == []
    found = read_waiting_hosts(state.items(MEDIA_HOST))
    assert found == [WaitingHost(platform="mine", host=HOST, videos=1)]


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        (HOST, True),
        ("xn--bcher-kva.example", True),
        (f"{'a' * 63}.example", True),
        ("CDN.example", False),
        ("cdn", False),
        ("10.0.0.1", False),
        ("::1", False),
        ("cdn.example\n", False),
        ("b\u00fccher.example", False),
        ("a_b.example", False),
        (f"{'a' * 64}.example", False),
        (f"{'a.' * 126}ab", False),
        ("a." * 5_000 + "com", False),
        ("\x00.example", False),
        ("", False),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_only_names_that_a_setting_can_hold_are_host_names(text: str, is_name: bool) -> None:
    assert is_host_name(text) is is_name


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 video waits"), (2, "2 videos wait"), (VIDEOS_MAX, f"{VIDEOS_MAX} or more videos wait")],
)
def test_count_is_in_words(count: int, words: str) -> None:
    assert videos_wait(count) == words


def refusal(host: str = HOST) -> ClipmillError:
    try:
        parse_media_url(f"https://{host}/a", (".mine.example",))
    except ClipmillError as error:
        return error
    raise AssertionError(host)


def waits_for(*videos: str, host: str = HOST) -> MediaHostWaits:
    now, waits = datetime.now(UTC), MediaHostWaits()
    for video in videos:
        state = MediaHostWait(
            platform="mine", host=host, video=video, until=now + timedelta(hours=1), at=now
        )
        waits.apply(f"{MEDIA_HOST}{state.name}", encode(state))
    return waits


def test_error_names_host_setting_and_waiting_videos_of_all_workers() -> None:
    first = waits_for().explained(refusal(), "mine", "mine:1")
    assert first.message.endswith(
        f'add ".{HOST}" to the setting platforms.mine.media_hosts; 1 video waits for it'
    )
    assert first.details["reason"] == first.message.partition(": ")[2] or first.message
    assert first.details["setting"] == "platforms.mine.media_hosts"
    again = waits_for("mine:1", "mine:2").explained(refusal(), "mine", "mine:1")
    assert again.details["videos"] == "2"
    third = waits_for("mine:1", "mine:2").explained(refusal(), "mine", "mine:3")
    assert "3 videos wait for it" in third.message
    assert waits_for("mine:1").explained(refusal(), "yours", "yours:1").details["videos"] == "1"


def test_error_of_a_page_names_all_of_its_hosts() -> None:
    error = ClipmillError(
        ErrorCode.PLATFORM_CHANGED, "x", failure="unknown_hosts", hosts=f"a.example, {HOST}"
    )
    found = waits_for("mine:1", "mine:2").explained(error, "mine", "mine:9")
    assert f"a.example, {HOST}, which are not hosts of mine" in found.details["reason"]
    assert found.details["videos"] == "3"
    assert found.details["failure"] == "unknown_hosts"
    assert len(found.details["reason"]) < 300


def test_internationalized_host_is_named_as_the_setting_takes_it() -> None:
    assert refusal("xn--bcher-kva.example").details["host"] == "xn--bcher-kva.example"
    assert refusal("CDN.Example").details["host"] == "cdn.example"


@pytest.mark.parametrize(
    "error",
    [
        ClipmillError(ErrorCode.PLATFORM_CHANGED, "a page"),
        ClipmillError(ErrorCode.NETWORK_DNS, "a name", host=HOST),
        ClipmillError(ErrorCode.PLATFORM_CHANGED, "a host", host="10.0.0.1"),
        ClipmillError(ErrorCode.PLATFORM_CHANGED, "a host", host="\x1b[2J.example"),
        ClipmillError(ErrorCode.PLATFORM_CHANGED, "a host", host="a." * 5_000 + "com"),
        ClipmillError(ErrorCode.PLATFORM_CHANGED, "a host", host=f"{'a.' * 127}a"),
        ClipmillError(ErrorCode.PLATFORM_CHANGED, "a host", host=""),
    ],
    ids=ascii,
)
def test_other_errors_are_unchanged(error: ClipmillError) -> None:
    assert waits_for().explained(error, "mine", "mine:1") is error


def test_hosts_of_one_error_are_bounded() -> None:
    named = ", ".join(f"h{number}.example" for number in range(1_000))
    found = unknown_hosts(ErrorCode.PLATFORM_CHANGED, {"hosts": named})
    assert found == tuple(f"h{number}.example" for number in range(HOSTS_PER_VIDEO_MAX))


def test_downloaded_video_waits_no_more() -> None:
    waits = waits_for("mine:1", "mine:2")
    (ended,) = waits.ends("mine:1")
    assert (ended.key, ended.value) == (f"{MEDIA_HOST}mine/{HOST}/mine:1".encode(), None)
    assert waits.ends("mine:3") == []
