import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.storage.names import FileIds, file_name
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import CONTAINERS

VIDEO = "7608826249200356630"


def name_of(
    platform: str = "tiktok",
    video_id: str = VIDEO,
    format_id: str = "play",
    extension: str = "mp4",
) -> str:
    return str(file_name(FileIds(platform, video_id, format_id), extension))


@pytest.mark.parametrize("format_id", ["play", "h264_720p_800000-0", "137", "x" * 64])
def test_safe_ids_are_part_of_the_name(format_id: str) -> None:
    assert name_of(format_id=format_id) == f"tiktok/{VIDEO}/{VIDEO}.{format_id}.mp4"


@pytest.mark.parametrize(
    ("format_id", "prefix"),
    [
        ("137+140", "137_140~"),
        ("hls-1.5M", "hls-1_5M~"),
        ("../../etc/passwd", "______etc_passwd~"),
        ("a/b", "a_b~"),
        ("", "~"),
        ("\u97f3", "_~"),
        ("\udcff", "_~"),
        ("x" * 65, "x" * 32 + "~"),
    ],
)
def test_unsafe_format_ids_get_a_digest(format_id: str, prefix: str) -> None:
    name = name_of(format_id=format_id).removeprefix(f"tiktok/{VIDEO}/{VIDEO}.")
    assert name.startswith(prefix)
    assert re.fullmatch(r"[0-9a-f]{16}\.mp4", name.removeprefix(prefix))
    assert name == name_of(format_id=format_id).rpartition("/")[2].removeprefix(f"{VIDEO}.")


BAD = ["", ".", "..", "a/b", "a\\b", "a.b", "a\0", "a b", "a\n", "\u00e9", "\uff11", "x" * 65]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("part", ["platform", "video_id", "extension"])
def test_unsafe_parts_are_refused(part: str, value: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        name_of(**{part: value})
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("extension", sorted(CONTAINERS))
def test_every_container_is_a_valid_extension(extension: str) -> None:
    assert name_of(extension=extension).endswith(f".play.{extension}")


@pytest.mark.parametrize("extension", ["html", "svg", "xml", "js", "exe", "php", "MP4", "part"])
def test_other_extensions_are_refused(extension: str) -> None:
    with pytest.raises(ClipmillError, match=f"file extension '{extension}' cannot") as caught:
        name_of(extension=extension)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


@pytest.mark.parametrize("value", ["TikTok", "-x", "_x"])
def test_platforms_are_lower_case(value: str) -> None:
    with pytest.raises(ClipmillError):
        name_of(platform=value)


def test_ids_of_other_platforms_are_valid() -> None:
    assert name_of(platform="youtube", video_id="-_aZ09") == "youtube/-_aZ09/-_aZ09.play.mp4"


@given(st.lists(st.text(max_size=100), min_size=2, max_size=8, unique=True))
def test_different_formats_never_share_a_name(format_ids: list[str]) -> None:
    names = {name_of(format_id=each) for each in format_ids}
    assert len(names) == len(format_ids)
    assert all(re.fullmatch(r"[a-z]+/\d+/\d+\.[A-Za-z0-9_~-]+\.mp4", each) for each in names)
    assert max(len(each.rpartition("/")[2]) for each in names) < 255


def test_thumbnail_is_named_after_its_file() -> None:
    assert name_of(format_id="play~thumbnail", extension="jpg").endswith(".play-thumb.jpg")


def test_format_of_a_page_never_has_the_name_of_a_thumbnail() -> None:
    assert re.search(r"\.play-thumb~[0-9a-f]{16}\.mp4$", name_of(format_id="play-thumb"))


@pytest.mark.parametrize("extension", ["json", "nfo"])
def test_extension_of_a_sidecar_is_valid(extension: str) -> None:
    assert name_of(extension=extension).endswith(f".play.{extension}")
