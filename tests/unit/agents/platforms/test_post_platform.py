from typing import Any

import pytest

from agents.platforms.post_platform import is_post_of_files, missing_files, read_files

FILE = "https://video.example.com/{}.mp4"


def video(*sides: int, **fields: Any) -> dict[str, Any]:
    listed = [{"url": FILE.format(side), "width": side, "height": side * 2} for side in sides]
    return {"formats": [each | fields for each in listed]}


def picture(*widths: int, extension: str = "jpg") -> dict[str, Any]:
    url = f"https://pictures.example.com/{{}}.{extension}?a=1"
    return {
        "formats": [],
        "thumbnails": [{"url": url.format(width), "width": width} for width in widths],
    }


def post(*entries: object) -> dict[str, Any]:
    return {"_type": "playlist", "entries": list(entries)}


def test_post_has_the_largest_file_of_each_position() -> None:
    found = read_files(post(video(320, 720, 540), picture(640, 1080, 320, extension="webp")))
    assert [(each.format.format_id, each.url) for each in found] == [
        ("video-01", FILE.format(720)),
        ("image-02", "https://pictures.example.com/1080.webp?a=1"),
    ]
    first, second = (each.format for each in found)
    assert (first.picture, first.motion, first.container) == (1, True, "mp4")
    assert (second.picture, second.motion, second.container) == (2, False, "webp")


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"formats": [], "thumbnails": []},
        {"formats": [], "thumbnails": [{"url": "file:///etc/passwd"}]},
        {"formats": [{"url": "https://a.example.com/list.m3u8", "protocol": "m3u8_native"}]},
        video(720, acodec="none"),
        video(720, vcodec="none"),
        video(720, has_drm=True),
    ],
)
def test_position_without_a_whole_file_is_missing(entry: dict[str, Any]) -> None:
    listed = post(entry, video(720))
    assert [each.format.picture for each in read_files(listed)] == [2]
    assert missing_files(listed) == (1,)


@pytest.mark.parametrize("extension", ["", "exe", "jpg"])
def test_picture_of_an_unknown_kind_is_a_jpeg(extension: str) -> None:
    (found,) = read_files(post(picture(640, extension=extension)))
    assert found.format.container == "jpeg"


def test_only_a_playlist_is_a_post_of_files() -> None:
    assert is_post_of_files(post())
    assert not is_post_of_files(video(720))
    assert read_files(post("text", None)) == ()
