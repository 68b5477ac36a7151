import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner

from agents.storage import LocalStorage
from agents.storage.withheld_posts import find_withheld, withheld_keys
from agents.storage_check.files_cli import files
from tests.unit.agents.media.files import PICTURE, VIDEO, content, sound_in

POST = "7106594312292453675"
LINK = f"https://www.tiktok.com/@user/video/{POST}"
SIZE = 100_000
CLIP = content(VIDEO, SIZE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMILL_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "old"
    folder.mkdir()
    return folder


def write(path: Path, body: bytes = CLIP) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    os.utime(path, (1, 1))
    return path


def adopt(folder: Path, *options: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the results and the counts of an adoption."""
    result = CliRunner().invoke(files, ["adopt", str(folder), "--json", *options])
    assert result.exit_code == 0, result.output
    *results, counts = map(json.loads, result.output.splitlines())
    return results, counts


def stored() -> list[str]:
    """Return the names of all stored files."""
    root = Path("data/files")
    return sorted(str(it.relative_to(root)) for it in root.rglob("*") if _is_visible(it, root))


def _is_visible(path: Path, root: Path) -> bool:
    return path.is_file() and not path.relative_to(root).parts[0].startswith(".")


def path_of(result: dict[str, Any]) -> Path:
    return Path(unquote(urlsplit(result["uri"]).path))


def test_file_of_our_layout_keeps_its_name(folder: Path) -> None:
    source = write(folder / f"tiktok/{POST}/{POST}.play.mp4")
    (result,), counts = adopt(folder)
    assert result["state"] == "adopted"
    assert result["video_key"] == f"tiktok:{POST}"
    assert stored() == [f"tiktok/{POST}/{POST}.play.mp4"]
    assert path_of(result).samefile(source)
    assert time.time() - path_of(result).stat().st_mtime < 60
    assert counts == {
        "adopted": 1,
        "stored": 0,
        "known": 0,
        "refused": 0,
        "bytes": SIZE,
        "dry_run": False,
    }


def test_file_of_a_template_keeps_its_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / f"user/2024 a clip [tiktok {POST}].play.mp4")
    template = "{author}/{date:%Y} {title} [{platform} {id}].{format}.{ext}"
    monkeypatch.setenv(
        "CLIPMILL_STORAGE__PATH_TEMPLATE", "{title}, {author} {platform} {id} {format}.{ext}"
    )
    _, counts = adopt(folder, "--path-template", template)
    assert counts["adopted"] == 1
    assert stored() == [f"a clip, user tiktok {POST} play.mp4"]


@pytest.mark.parametrize("name", ["Title", f"a clip [{POST}]"])
def test_info_file_says_which_post_it_is(name: str, folder: Path) -> None:
    write(folder / f"{name}.mp4")
    info = {"webpage_url": LINK, "title": "a clip", "uploader": "user"}
    (folder / f"{name}.info.json").write_text(json.dumps(info))
    (result,), _ = adopt(folder)
    assert (result["state"], result["video_key"]) == ("adopted", f"tiktok:{POST}")
    assert stored() == [f"tiktok/{POST}/{POST}.adopted.mp4"]


@pytest.mark.parametrize("by_archive", [True, False])
def test_name_of_ytdlp_needs_its_platform(by_archive: bool, folder: Path, tmp_path: Path) -> None:
    write(folder / f"a clip [{POST}].mp4")
    (result,), _ = adopt(folder)
    assert "has no platform" in result["reason"]
    archive = tmp_path / "archive.txt"
    archive.write_text(f"tiktok {POST}\n")
    options = ["--archive", str(archive)] if by_archive else ["--platform", "tiktok"]
    (result,), _ = adopt(folder, *options)
    assert (result["state"], result["video_key"]) == ("adopted", f"tiktok:{POST}")


def test_sound_is_adopted_beside_the_video(folder: Path) -> None:
    write(folder / f"a clip [{POST}].mp4")
    write(folder / f"a clip [{POST}].wav", sound_in("wav", "pcm_s16le"))
    adopt(folder, "--platform", "tiktok")
    assert stored() == [
        f"tiktok/{POST}/{POST}.adopted.mp4",
        f"tiktok/{POST}/{POST}.adopted~sound.wav",
    ]


def test_name_follows_the_kind_of_file(folder: Path) -> None:
    write(folder / f"a clip [{POST}].webm")
    adopt(folder, "--platform", "tiktok")
    assert stored() == [f"tiktok/{POST}/{POST}.adopted.mp4"]


def test_archive_entry_without_a_file_is_withheld(folder: Path, tmp_path: Path) -> None:
    write(folder / f"a clip [{POST}].mp4")
    archive = tmp_path / "archive.txt"
    archive.write_text(f"tiktok {POST}\ntiktok 8\nreddit abc\n")
    for _ in range(2):
        results, counts = adopt(folder, "--archive", str(archive))
        assert [it["state"] for it in results] == [results[0]["state"], "known", "refused"]
        assert counts["known"] == counts["refused"] == 1
        assert asyncio.run(keys()) == ["tiktok:8"]
    adopt(folder, "--archive", str(archive), "--dry-run")


async def keys() -> list[str]:
    async with LocalStorage.open(Path("data")) as storage:
        found = sorted([key async for key in withheld_keys(storage.records)])
        post = await find_withheld(storage.records, "tiktok", "8")
        assert post is not None
        assert post.cause == "archived"
    return found


def test_second_run_changes_nothing(folder: Path) -> None:
    write(folder / f"tiktok/{POST}/{POST}.play.mp4")
    write(folder / f"a clip [{POST}].mp4", content(VIDEO, SIZE + 1))
    for options in ([], ["--copy"], ["--move"]):
        before = [(path, Path(f"data/files/{path}").stat().st_ino) for path in stored()]
        results, counts = adopt(folder, "--platform", "tiktok", *options)
        assert counts["adopted"] + counts["stored"] == 2
        if before:
            assert {it["state"] for it in results} == {"stored"}
            assert [(it, Path(f"data/files/{it}").stat().st_ino) for it in stored()] == before
    assert not [it for it in folder.rglob("*") if it.is_file()]


def test_copy_is_a_file_of_its_own(folder: Path) -> None:
    source = write(folder / f"a clip [{POST}].mp4")
    (result,), _ = adopt(folder, "--platform", "tiktok", "--copy")
    assert path_of(result).read_bytes() == CLIP
    assert not path_of(result).samefile(source)
    assert source.stat().st_mtime == 1


def test_moved_file_leaves_its_folder(folder: Path) -> None:
    source = write(folder / f"a clip [{POST}].mp4")
    (result,), _ = adopt(folder, "--platform", "tiktok", "--move")
    assert not source.exists()
    assert path_of(result).read_bytes() == CLIP
    assert path_of(result).stat().st_nlink == 1


def test_dry_run_changes_nothing(folder: Path) -> None:
    source = write(folder / f"a clip [{POST}].mp4")
    (result,), counts = adopt(folder, "--platform", "tiktok", "--dry-run", "--move")
    assert (result["state"], result["uri"]) == ("adopted", None)
    assert (counts["adopted"], counts["dry_run"]) == (1, True)
    assert stored() == []
    assert (source.stat().st_mtime, source.stat().st_nlink) == (1, 1)


def test_other_file_of_a_post_does_not_replace_the_stored_one(folder: Path) -> None:
    write(folder / f"a clip [{POST}].mp4")
    write(folder / f"renamed clip [{POST}].mp4", content(VIDEO, SIZE + 1))
    for _ in range(2):
        results, _ = adopt(folder, "--platform", "tiktok")
        assert results[1]["state"] == "refused"
        assert "another file of its post is stored" in results[1]["reason"]
    assert Path(f"data/files/{stored()[0]}").read_bytes() == CLIP


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        (f"a clip [{POST}].mp4", b"", "it is empty"),
        (f"a clip [{POST}].mp4", b"<html>" * 100, "cannot be read as media"),
        (f"a clip [{POST}].mp4", CLIP[: SIZE // 2], "damaged|cannot be read"),
        (f"a clip [{POST}].exe", CLIP, "its extension is none of a media file"),
        (f"a clip [{POST}]", CLIP, "its extension is none of a media file"),
        (f"a clip [{POST}].json", b"{}", "requests write metadata anew"),
        (f"a clip [{POST}].jpg", content(PICTURE), "it is a picture"),
        (f"a clip [{POST}].f137.mp4", CLIP, "its name is none of clipmill or yt-dlp"),
        (f"nowhere/{POST}/{POST}.play.mp4", CLIP, "no installed platform is called nowhere"),
        ("a clip.mp4", CLIP, "its name is none of clipmill or yt-dlp"),
        ("a clip [" + "7" * 65 + "].mp4", CLIP, "its name is none of clipmill or yt-dlp"),
    ],
)
def test_file_that_is_not_adopted_has_a_reason(
    name: str, body: bytes, reason: str, folder: Path
) -> None:
    write(folder / name, body)
    (result,), counts = adopt(folder, "--platform", "tiktok")
    assert result["state"] == "refused"
    assert any(part in result["reason"] for part in reason.split("|"))
    assert (counts["refused"], stored()) == (1, [])


def test_hostile_entries_are_refused_and_not_followed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = write(tmp_path / f"elsewhere/secret [{POST}].mp4")
    (folder / f"link [{POST}].mp4").symlink_to(secret)
    (folder / "linked").symlink_to(secret.parent)
    os.mkfifo(folder / f"pipe [{POST}].mp4")
    monkeypatch.setenv("CLIPMILL_DOWNLOAD__FILE_BYTES", str(SIZE - 1))
    write(folder / f"huge [{POST}].mp4")
    write(folder / f".hidden [{POST}].mp4")
    results, counts = adopt(folder, "--platform", "tiktok")
    assert {Path(it["path"]).name: it["reason"] for it in results} == {
        f"link [{POST}].mp4": "it is a symbolic link",
        "linked": "it is a symbolic link",
        f"pipe [{POST}].mp4": "it is not a regular file",
        f"huge [{POST}].mp4": f"it is larger than download.file_bytes, {SIZE - 1}",
    }
    assert (counts["adopted"], stored()) == (0, [])


def test_names_that_are_no_text_are_printed_escaped(folder: Path) -> None:
    Path(os.fsdecode(bytes(folder) + b"/\xff\x1b[2J.mp4")).write_bytes(CLIP)
    (result,), _ = adopt(folder)
    assert result["path"].endswith("/\\udcff\\x1b[2J.mp4")
    plain = CliRunner().invoke(files, ["adopt", str(folder)]).output
    assert "\x1b" not in plain
    assert "0 adopted, 0 stored, 0 known, 1 refused; 0 bytes adopted" in plain


@pytest.mark.parametrize(
    "options",
    [
        ["--move", "--copy"],
        ["--platform", "nowhere"],
        ["--path-template", "{id}.{ext}"],
        ["--archive", "missing"],
    ],
)
def test_options_that_contradict_are_refused(options: list[str], folder: Path) -> None:
    assert CliRunner().invoke(files, ["adopt", str(folder), *options]).exit_code == 2


def test_storage_does_not_adopt_itself(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data/files/tiktok").mkdir(parents=True)
    for directory in (tmp_path, tmp_path / "data/files", tmp_path / "data/files/tiktok"):
        assert CliRunner().invoke(files, ["adopt", str(directory)]).exit_code == 2
    assert folder.exists()
