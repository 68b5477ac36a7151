from datetime import UTC, datetime, timedelta

import pytest

from agents.network.addresses import parse_media_url
from agents.pipeline.unknown_hosts import HOSTS_PER_VIDEO_MAX, UnknownHosts, unknown_hosts
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.signals import MEDIA_HOST, MediaHostWait
from streams.media_host_waits import MediaHostWaits

HOST = "new.cdn.example"


def refusal(host: str = HOST) -> ClipmillError:
    try:
        parse_media_url(f"https://{host}/a", (".mine.example",))
    except ClipmillError as error:
        return error
    raise AssertionError(host)


def hosts_of(*videos: str, host: str = HOST) -> UnknownHosts:
    now, waits = datetime.now(UTC), MediaHostWaits()
    for video in videos:
        state = MediaHostWait(
            platform="mine", host=host, video=video, until=now + timedelta(hours=1), at=now
        )
        waits.apply(f"{MEDIA_HOST}{state.name}", encode(state))
    return UnknownHosts(waits)


def test_error_names_host_setting_and_waiting_videos_of_all_workers() -> None:
    first = hosts_of().explained(refusal(), "mine", "mine:1")
    assert first.message.endswith(
        f'add ".{HOST}" to the setting platforms.mine.media_hosts; 1 video waits for it'
    )
    assert first.details["reason"] == first.message.partition(": ")[2] or first.message
    assert first.details["setting"] == "platforms.mine.media_hosts"
    again = hosts_of("mine:1", "mine:2").explained(refusal(), "mine", "mine:1")
    assert again.details["videos"] == "2"
    third = hosts_of("mine:1", "mine:2").explained(refusal(), "mine", "mine:3")
    assert "3 videos wait for it" in third.message
    assert hosts_of("mine:1").explained(refusal(), "yours", "yours:1").details["videos"] == "1"


def test_error_of_a_page_names_all_of_its_hosts() -> None:
    error = ClipmillError(
        ErrorCode.PLATFORM_CHANGED, "x", failure="unknown_hosts", hosts=f"a.example, {HOST}"
    )
    found = hosts_of("mine:1", "mine:2").explained(error, "mine", "mine:9")
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
    assert hosts_of().explained(error, "mine", "mine:1") is error


def test_hosts_of_one_error_are_bounded() -> None:
    named = ", ".join(f"h{number}.example" for number in range(1_000))
    found = unknown_hosts(ErrorCode.PLATFORM_CHANGED, {"hosts": named})
    assert found == tuple(f"h{number}.example" for number in range(HOSTS_PER_VIDEO_MAX))


def test_downloaded_video_waits_no_more() -> None:
    hosts = hosts_of("mine:1", "mine:2")
    (ended,) = hosts.ends("mine:1")
    assert (ended.key, ended.value) == (f"{MEDIA_HOST}mine/{HOST}/mine:1".encode(), None)
    assert hosts.ends("mine:3") == []
