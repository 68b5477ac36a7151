from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.storage.names import FileIds, subtitles_id, with_extension
from agents.storage.path_layout import DEFAULT, layouts_of, path_of_uri, read_path
from agents.storage.post_paths import PostDetails, PostRecord, post_stem
from schemas.path_template import parse_template

TEMPLATES = [
    DEFAULT.text,
    "{author}/{date:%Y}/{date:%Y-%m-%d} {title:.80} [{platform} {id}].{format}.{ext}",
    "{id} {format} {platform} {title}.{ext}",
    "{platform}/{author}.{id}/{title}.{id}.{format}.{ext}",
]
FORMATS = ["play", "a+b", "play~sound", "play~tagged", "play~thumbnail", "a+b~thumbnail", "x" * 90]
CLIP = PostDetails(
    author="user", title="a [tiktok 5].x.mp4 clip", published_at=datetime(2024, 5, 6, tzinfo=UTC)
)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("format_id", FORMATS)
def test_path_that_is_read_and_rendered_is_the_same(template: str, format_id: str) -> None:
    record = PostRecord.of(parse_template(template), CLIP)
    ids = FileIds("tiktok", "7_-x", format_id)
    path = with_extension(post_stem(record, ids), "mp4")
    name = read_path("/media/old" / path, layouts_of(template))
    assert name is not None
    assert (name.ids.platform, name.ids.video_id, name.extension) == ("tiktok", "7_-x", "mp4")
    assert with_extension(post_stem(record, name.ids), "mp4") == path


def test_texts_of_a_template_are_read() -> None:
    path = PurePosixPath("user/2024/2024-05-06 a clip [tiktok 7].play.mp4")
    name = read_path(path, layouts_of(TEMPLATES[1]))
    assert name is not None
    assert name.details == PostDetails(
        author="user", title="a clip", published_at=datetime(2024, 5, 6, tzinfo=UTC)
    )


@pytest.mark.parametrize("template", TEMPLATES)
def test_post_of_subtitles_is_read(template: str) -> None:
    record = PostRecord.of(parse_template(template), CLIP)
    subtitles = subtitles_id("a+b", "pt-BR", "vtt", automatic=True)
    path = with_extension(post_stem(record, FileIds("tiktok", "7", subtitles)), "vtt")
    name = read_path(path, layouts_of(template))
    assert name is not None
    assert (name.ids.platform, name.ids.video_id, name.extension) == ("tiktok", "7", "vtt")


def test_unknown_texts_are_none() -> None:
    path = PurePosixPath("unknown/unknown/unknown unknown [tiktok 7].play.mp4")
    name = read_path(path, layouts_of(TEMPLATES[1]))
    assert name is not None
    assert name.details == PostDetails()


@pytest.mark.parametrize(
    "path",
    [
        "tiktok/7/8.play.mp4",
        "7.play.mp4",
        "tiktok/7/7.play",
        "tiktok/7/7.mp4",
        "TikTok/7/7.play.mp4",
        "tiktok/7/7.play.mp4\n",
        "user/2024/2024-13 a clip [tiktok 7].play.mp4",
        "user/2024/2024-05-06 [tiktok 7].play.mp4",
    ],
)
def test_foreign_path_is_not_read(path: str) -> None:
    assert read_path(PurePosixPath(path), layouts_of(TEMPLATES[1])) is None


@given(st.text(max_size=60), st.sampled_from(TEMPLATES))
def test_ids_are_read_whatever_the_title(title: str, template: str) -> None:
    record = PostRecord.of(parse_template(template), PostDetails(title=title, author=title))
    ids = FileIds("x", "12", "play")
    name = read_path(with_extension(post_stem(record, ids), "mp4"), layouts_of(template))
    assert name is not None
    assert name.ids == ids


def test_path_of_a_uri_has_no_escapes() -> None:
    assert path_of_uri("file:///a%20b/c%23.mp4") == PurePosixPath("/a b/c#.mp4")
    assert path_of_uri("s3://clips/a%20b.mp4").name == "a%20b.mp4"
