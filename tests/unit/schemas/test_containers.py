import re

import pytest

from schemas.containers import CONTAINERS, DEFAULT_CONTAINER, MEDIA_TYPES, container_of

RUN_BY_BROWSERS = {
    *("html", "htm", "xhtml", "xht", "shtml", "mht", "mhtml", "svg", "svgz", "xml", "xsl", "rdf"),
    *("js", "mjs", "css", "json", "wasm", "swf", "pdf", "hta", "exe", "php", "jsp", "cgi"),
}


def test_nothing_that_is_run_or_shown_as_a_page_is_a_container() -> None:
    assert CONTAINERS.isdisjoint(RUN_BY_BROWSERS)


@pytest.mark.parametrize(("container", "media_type"), MEDIA_TYPES.items())
def test_containers_are_plain_extensions_of_media(container: str, media_type: str) -> None:
    assert re.fullmatch(r"[a-z0-9]{2,4}", container)
    assert re.fullmatch(r"(video|audio|image)/[a-z0-9-]+", media_type)
    assert container_of(container) == container_of(container.upper()) == container


@pytest.mark.parametrize(
    "told",
    [None, "", "mp4 ", "mp4\n", ".mp4", "../mp4", "mp4/", "\uff4dp4", *sorted(RUN_BY_BROWSERS)],
)
def test_all_else_is_called_as_most_videos_are(told: str | None) -> None:
    assert container_of(told) == DEFAULT_CONTAINER
    assert container_of((told or "").upper()) == DEFAULT_CONTAINER
