import pytest

from agents.engine.extractors import load_extractor
from agents.platforms.vimeo import Vimeo
from schemas.errors import ClipmillError, ErrorCode

UNLISTED = "https://vimeo.com/392479337/a52724358e"


@pytest.mark.parametrize("url", ["https://vimeo.com/76979871", UNLISTED])
def test_page_of_the_player_is_accepted_by_the_extractor(url: str) -> None:
    found = load_extractor(Vimeo.capabilities.extractors[0])
    assert found.suitable(Vimeo().page_url(Vimeo().parse_url(url)))


@pytest.mark.parametrize(
    "url",
    [
        "http://www.vimeo.com/76979871/",
        "https://vimeo.com/channels/staffpicks/76979871",
        "https://vimeo.com/groups/travelhd/videos/76979871",
        "https://vimeo.com/album/2632481/video/76979871",
        "https://vimeo.com/showcase/3253534/video/76979871?share=copy",
        "https://player.vimeo.com/video/76979871?autoplay=1#t=3",
    ],
)
def test_links_of_a_video_are_one_video(url: str) -> None:
    assert Vimeo().parse_url(url) == Vimeo().parse_url("https://vimeo.com/76979871")
    assert Vimeo().page_url(Vimeo().parse_url(url)) == "https://player.vimeo.com/video/76979871"


@pytest.mark.parametrize(
    "url",
    [
        "https://vimeo.com/392479337?h=a52724358e",
        "https://player.vimeo.com/video/392479337?h=a52724358e",
    ],
)
def test_hash_of_an_unlisted_video_is_kept(url: str) -> None:
    assert Vimeo().parse_url(url) == Vimeo().parse_url(UNLISTED)
    assert Vimeo().page_url(Vimeo().parse_url(url)) == (
        "https://player.vimeo.com/video/392479337?h=a52724358e"
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://vimeo.com/",
        "https://vimeo.com/staff",
        "https://vimeo.com/channels/staffpicks",
        "https://vimeo.com/showcase/3253534",
        "https://vimeo.com/event/123",
        "https://example.com/76979871",
    ],
)
def test_other_pages_are_unsupported(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        Vimeo().parse_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
