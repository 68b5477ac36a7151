import pytest

from agents.network.download import media_type
from schemas.containers import MEDIA_TYPES
from schemas.video import MediaSource, VideoFormat


def source_of(container: str = "mp4") -> MediaSource:
    found = VideoFormat(format_id="f", container=container)
    return MediaSource(format=found, url="https://cdn.mine.example/a")


@pytest.mark.parametrize(
    "told", ["video/mp4", "video/webm", "audio/mpeg", "image/jpeg", "video/x-flv", "image/webp"]
)
def test_what_the_server_says_counts_when_it_is_media(told: str) -> None:
    assert media_type(told, source_of("mov")) == told


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "text/html",
        "text/javascript",
        "image/svg+xml",
        "image/svg",
        "image/x-svg+xml",
        "video/x+xml",
        "application/xhtml+xml",
        "application/xml",
        "application/pdf",
        "multipart/x-mixed-replace",
        "message/rfc822",
        "video/",
        "xvideo/mp4",
    ],
)
def test_else_the_container_counts(told: str | None) -> None:
    assert media_type(told, source_of("webm")) == "video/webm"


@pytest.mark.parametrize(("container", "expected"), MEDIA_TYPES.items())
def test_every_container_has_a_type(container: str, expected: str) -> None:
    assert media_type(None, source_of(container)) == expected


@pytest.mark.parametrize("container", ["html", "svg", ""])
def test_what_is_no_container_says_nothing(container: str) -> None:
    assert media_type("image/svg+xml", source_of(container)) == "application/octet-stream"
