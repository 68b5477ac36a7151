import re

import pytest

from schemas.video import CONTAINERS, DEFAULT_CONTAINER, MEDIA_TYPES, VideoFormat, container_of

ACTIVE_CONTENT = {
    *("html", "htm", "xhtml", "xht", "shtml", "mht", "mhtml", "svg", "svgz", "xml", "xsl", "rdf"),
    *("js", "mjs", "css", "json", "wasm", "swf", "pdf", "hta", "exe", "php", "jsp", "cgi"),
}


def test_no_container_is_active_content() -> None:
    assert CONTAINERS.isdisjoint(ACTIVE_CONTENT)


@pytest.mark.parametrize(("container", "media_type"), MEDIA_TYPES.items())
def test_containers_are_plain_extensions_of_media(container: str, media_type: str) -> None:
    assert re.fullmatch(r"[a-z0-9]{2,4}", container)
    assert re.fullmatch(r"(video|audio|image)/[a-z0-9-]+", media_type)
    assert container_of(container) == container_of(container.upper()) == container


@pytest.mark.parametrize(
    "extension",
    [None, "", "mp4 ", "mp4\n", ".mp4", "../mp4", "mp4/", "\uff4dp4", *sorted(ACTIVE_CONTENT)],
)
def test_unknown_extension_gives_the_default_container(extension: str | None) -> None:
    assert container_of(extension) == DEFAULT_CONTAINER
    assert container_of((extension or "").upper()) == DEFAULT_CONTAINER


@pytest.mark.parametrize(
    ("width", "height", "side"),
    [(1280, 720, 720), (720, 1280, 720), (None, 720, 720), (640, None, 640), (None, None, 0)],
)
def test_smaller_side_is_of_the_known_sides(
    width: int | None, height: int | None, side: int
) -> None:
    found = VideoFormat(format_id="a", container="mp4", width=width, height=height)
    assert found.smaller_side == side
