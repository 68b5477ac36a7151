import pytest

from agents.platforms.streamable import RESERVED_PATHS, Streamable
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef


@pytest.mark.parametrize(
    "url",
    [
        "https://streamable.com/moo",
        "http://www.streamable.com/moo/",
        "streamable.com/moo",
        "https://streamable.com/e/moo?autoplay=1",
        "https://streamable.com/o/moo",
        "https://streamable.com/s/moo/drxjds",
        "https://streamable.com/moo#t=3",
    ],
)
def test_every_form_is_the_same_video(url: str) -> None:
    assert Streamable().parse_url(url) == VideoRef(
        platform="streamable", id="moo", url="https://streamable.com/moo"
    )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://streamable.com/", "not a page of a single video"),
        ("https://streamable.com/a-b", "not a page of a single video"),
        ("https://streamable.com/moo/x/y", "not a page of a single video"),
        (f"https://streamable.com/{'x' * 33}", "not a page of a single video"),
        ("https://streamable.com/ä", "not a page of a single video"),
        ("https://cdn.streamable.com/moo", "is not a host of Streamable"),
        ("https://streamable.com.evil.example/moo", "is not a host of Streamable"),
        *(
            (f"https://streamable.com/{page}", "not a page of a single")
            for page in sorted(RESERVED_PATHS)
        ),
    ],
)
def test_url_of_no_video_is_rejected(url: str, reason: str) -> None:
    with pytest.raises(ClipmillError, match=reason) as caught:
        Streamable().parse_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert "such as https://streamable.com/moo" in caught.value.message


def test_url_with_credentials_is_invalid() -> None:
    with pytest.raises(ClipmillError) as caught:
        Streamable().parse_url("https://user@streamable.com/moo")
    assert caught.value.code is ErrorCode.REQUEST_INVALID
