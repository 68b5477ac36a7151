import pytest

from agents.network.download import media_type
from schemas.video import MEDIA_TYPES, MediaSource, VideoFormat


def source_of(container: str = "mp4") -> MediaSource:
    found = VideoFormat(format_id="f", container=container)
    return MediaSource(format=found, url="https://cdn.mine.example/a")


@pytest.mark.parametrize(
    "header", ["video/mp4", "video/webm", "audio/mpeg", "image/jpeg", "video/x-flv", "image/webp"]
)
def test_media_type_of_the_server_is_used(header: str) -> None:
    assert media_type(header, source_of("mov")) == header


@pytest.mark.parametrize(
    "header",
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
def test_other_type_is_replaced_by_that_of_the_container(header: str | None) -> None:
    assert media_type(header, source_of("webm")) == "video/webm"


@pytest.mark.parametrize(("container", "expected"), MEDIA_TYPES.items())
def test_every_container_has_a_media_type(container: str, expected: str) -> None:
    assert media_type(None, source_of(container)) == expected


@pytest.mark.parametrize("container", ["html", "svg", ""])
def test_unknown_container_is_an_octet_stream(container: str) -> None:
    assert media_type("image/svg+xml", source_of(container)) == "application/octet-stream"
