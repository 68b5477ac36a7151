import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.platforms import Platforms
from agents.storage import PostDetails
from agents.storage_check.adoption.report import RefusedError
from agents.storage_check.adoption.ytdlp_files import (
    INFO_BYTES_MAX,
    ArchiveEntry,
    platforms_by_extractor,
    post_of_link,
    read_archive,
    read_info,
    read_name,
)

PLATFORMS = Platforms.load()
LINK = "https://www.tiktok.com/@user/video/7106594312292453675"


def write_info(folder: Path, content: str) -> Path:
    (folder / "clip [7].info.json").write_text(content)
    return folder / "clip [7].mp4"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, PostDetails()),
        (
            {"title": "a clip", "uploader": "user", "uploader_id": "5", "timestamp": 0},
            PostDetails(
                title="a clip",
                author="user",
                author_id="5",
                published_at=datetime(1970, 1, 1, tzinfo=UTC),
            ),
        ),
        (
            {"channel": "c", "upload_date": "20240506"},
            PostDetails(author="c", published_at=datetime(2024, 5, 6, tzinfo=UTC)),
        ),
        ({"timestamp": 1e300, "upload_date": "20240506"}, PostDetails()),
        ({"upload_date": "soon", "other": [{}]}, PostDetails()),
    ],
)
def test_details_are_read_from_an_info_file(
    fields: dict[str, object], expected: PostDetails, tmp_path: Path
) -> None:
    media = write_info(tmp_path, json.dumps({"webpage_url": LINK, **fields}))
    info = read_info(media, media.stem)
    assert info is not None
    assert info.details == expected


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"webpage_url": 5}', "[" * 100_000, "\0"])
def test_malformed_info_file_refuses_its_file(content: str, tmp_path: Path) -> None:
    media = write_info(tmp_path, content)
    with pytest.raises(RefusedError, match="info file cannot be read"):
        read_info(media, media.stem)


def test_info_file_that_is_no_regular_file_refuses_its_file(tmp_path: Path) -> None:
    media = tmp_path / "clip [7].mp4"
    assert read_info(media, media.stem) is None
    info = tmp_path / "clip [7].info.json"
    os.mkfifo(info)
    with pytest.raises(RefusedError, match="not a regular file"):
        read_info(media, media.stem)
    info.unlink()
    info.symlink_to("/etc/hostname")
    with pytest.raises(RefusedError, match="cannot be read"):
        read_info(media, media.stem)
    info.unlink()
    with info.open("wb") as file:
        file.truncate(INFO_BYTES_MAX + 1)
    with pytest.raises(RefusedError, match="larger"):
        read_info(media, media.stem)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("a clip [7000000000000000001]", ("a clip", "7000000000000000001")),
        ("a [b] clip [dQw4w9WgXcQ]", ("a [b] clip", "dQw4w9WgXcQ")),
        (" [7]", ("", "7")),
        ("a\nclip [7]", ("a\nclip", "7")),
        ("a clip [7].f137", None),
        ("a clip", None),
        ("[7]", None),
        ("a clip [../7]", None),
    ],
)
def test_id_is_read_from_a_name(stem: str, expected: tuple[str, str] | None) -> None:
    assert read_name(stem) == expected


def test_link_leads_to_its_post() -> None:
    assert post_of_link(LINK, PLATFORMS).key == "tiktok:7106594312292453675"


@pytest.mark.parametrize(
    "link", ["https://example.org/1", "https://www.tiktok.com/@user", "", "file:///etc/hostname"]
)
def test_link_of_no_post_is_refused(link: str) -> None:
    with pytest.raises(RefusedError):
        post_of_link(link, PLATFORMS)


def test_entries_of_an_archive_are_read(tmp_path: Path) -> None:
    archive = tmp_path / "archive.txt"
    archive.write_bytes(
        b"tiktok 7000000000000000001\r\n\n# note\nyoutube -a_b\n\xff 5\ntiktok ../7\nx\ntiktok 7\n"
    )
    assert list(read_archive(archive)) == [
        ArchiveEntry("tiktok", "7000000000000000001"),
        ArchiveEntry("youtube", "-a_b"),
        ArchiveEntry("tiktok", "7"),
    ]


def test_extractors_are_named_as_in_archives() -> None:
    assert platforms_by_extractor(PLATFORMS) == {
        "douyin": "douyin",
        "facebook": "facebook",
        "instagram": "instagram",
        "streamable": "streamable",
        "tiktok": "tiktok",
        "tiktokcollection": "tiktok",
        "tiktokuser": "tiktok",
        "vimeo": "vimeo",
        "youtube": "youtube",
    }
