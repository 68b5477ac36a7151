from agents.download.unknown_hosts import HOSTS_MAX, VIDEOS_MAX, UnknownHosts
from agents.network.addresses import parse_media_url
from schemas.errors import ClipmillError, ErrorCode


def refusal(host: str = "new.cdn.example") -> ClipmillError:
    try:
        parse_media_url(f"https://{host}/a", (".mine.example",))
    except ClipmillError as error:
        return error
    raise AssertionError(host)


def test_error_names_host_setting_and_waiting_videos() -> None:
    hosts = UnknownHosts()
    first = hosts.explained(refusal(), "mine", "mine:1")
    assert '".new.cdn.example" to the setting platforms.mine.media_hosts' in first.message
    assert "1 video waits for it" in first.message
    assert first.details["setting"] == "platforms.mine.media_hosts"
    assert hosts.explained(refusal(), "mine", "mine:1").details["videos"] == "1"
    assert "2 videos wait for it" in hosts.explained(refusal(), "mine", "mine:2").message
    assert hosts.explained(refusal("other.example"), "mine", "mine:3").details["videos"] == "1"
    assert hosts.explained(refusal(), "yours", "yours:1").details["videos"] == "1"


def test_downloaded_video_waits_no_more() -> None:
    hosts = UnknownHosts()
    hosts.explained(refusal(), "mine", "mine:1")
    hosts.succeeded("mine", "mine:1")
    assert hosts.explained(refusal(), "mine", "mine:2").details["videos"] == "1"


def test_other_errors_are_unchanged() -> None:
    for error in (
        ClipmillError(ErrorCode.PLATFORM_CHANGED, "a page"),
        ClipmillError(ErrorCode.NETWORK_DNS, "a name", host="x"),
    ):
        assert UnknownHosts().explained(error, "mine", "mine:1") is error


def test_counts_are_bounded() -> None:
    hosts = UnknownHosts()
    for number in range(VIDEOS_MAX + 9):
        found = hosts.explained(refusal(), "mine", f"mine:{number}")
    assert found.details["videos"] == str(VIDEOS_MAX)
    for number in range(HOSTS_MAX):
        hosts.explained(refusal(f"h{number}.example"), "mine", "mine:1")
    assert hosts.explained(refusal(), "mine", "mine:1").details["videos"] == "1"
