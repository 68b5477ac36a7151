import asyncio
import hashlib
import json
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner

from agents.storage import LocalStorage
from agents.storage_check.files_cli import files
from schemas.path_template import PathTemplate, parse_template


async def publish(root: Path, content: bytes, template: PathTemplate | None = None) -> Path:
    async with LocalStorage.open(root, template) as storage, storage.workspace() as directory:
        path = directory / "part"
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        uri = await storage.publish(
            path,
            platform="tiktok",
            video_id=content.decode(),
            format_id="play",
            extension="mp4",
            sha256=digest,
        )
    return Path(unquote(urlsplit(uri).path))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMILL_DATA_DIR", str(tmp_path))
    return [asyncio.run(publish(tmp_path, content)) for content in (b"a1", b"b2")]


def test_files_are_listed(paths: list[Path]) -> None:
    result = CliRunner().invoke(files, ["list"])
    assert [line.split()[1:] for line in result.output.splitlines()] == [
        ["2", path.as_uri()] for path in paths
    ]
    lines = CliRunner().invoke(files, ["list", "--json"]).output.splitlines()
    assert [json.loads(line)["uri"] for line in lines] == [path.as_uri() for path in paths]


def test_flipped_bit_is_found(paths: list[Path]) -> None:
    assert CliRunner().invoke(files, ["verify"]).exit_code == 0
    with paths[0].open("r+b") as file:
        file.write(b"`")
    result = CliRunner().invoke(files, ["verify"])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"damaged {paths[0].as_uri()}",
        "1 ok, 1 damaged, 0 unknown, 0 gone",
    ]


def test_file_without_a_digest_is_unknown(paths: list[Path]) -> None:
    os.removexattr(paths[1], "user.clipmill.sha256")
    result = CliRunner().invoke(files, ["verify"])
    assert result.exit_code == 0
    assert f"unknown {paths[1].as_uri()}" in result.output


def test_old_files_are_removed_unless_it_is_a_dry_run(paths: list[Path]) -> None:
    os.utime(paths[1], (1, 1))
    options = ["remove", "--before", "30d"]
    expected = f"{paths[1].as_uri()}\n1 files of 2 bytes"
    assert CliRunner().invoke(files, [*options, "--dry-run"]).output == f"{expected}\n"
    assert paths[1].exists()
    assert CliRunner().invoke(files, options).output == f"{expected} removed\n"
    assert [path.exists() for path in paths] == [True, False]


@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--before", "yesterday"],
        ["--keep-bytes", "-1"],
        ["--forget"],
        ["tiktok:7", "--before", "30d"],
        ["--forget", "--before", "30d"],
    ],
)
def test_removal_needs_a_criterion(options: list[str]) -> None:
    assert CliRunner().invoke(files, ["remove", *options]).exit_code == 2


LINK = "https://www.tiktok.com/@user/video/7106594312292453675"


@pytest.mark.parametrize("post", ["tiktok:7106594312292453675", LINK])
def test_files_of_a_post_are_removed_and_it_is_withheld(
    post: str, paths: list[Path], tmp_path: Path
) -> None:
    path = asyncio.run(publish(tmp_path, b"7106594312292453675"))
    counted = "tiktok:7106594312292453675: 1 files of 19 bytes"
    result = CliRunner().invoke(files, ["remove", post, "--dry-run"])
    assert result.output == f"{path.as_uri()}\n{counted}\n"
    assert path.exists()
    assert withheld() == []
    result = CliRunner().invoke(files, ["remove", post])
    assert result.output == f"{path.as_uri()}\n{counted} removed\n"
    assert [it.exists() for it in (path, *paths)] == [False, True, True]
    assert withheld() == ["tiktok:7106594312292453675"]
    result = CliRunner().invoke(files, ["remove", post, "--forget"])
    assert result.output == "tiktok:7106594312292453675: 0 files of 0 bytes removed\n"
    assert withheld() == []


def withheld() -> list[str]:
    return CliRunner().invoke(files, ["list", "--withheld"]).output.splitlines()


def test_post_of_an_earlier_template_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPMILL_DATA_DIR", str(tmp_path))
    template = "{title} {platform} {id} {format}.{ext}"
    path = asyncio.run(publish(tmp_path, b"a1", parse_template(template)))
    assert CliRunner().invoke(files, ["remove", "tiktok:a1"]).exit_code == 0
    assert not path.exists()


@pytest.mark.usefixtures("paths")
@pytest.mark.parametrize(
    "post", ["tiktok:../x", "nowhere:7", "https://vm.tiktok.com/ZMabc123/", "a1", ""]
)
def test_removal_of_no_post_is_an_error(post: str) -> None:
    assert CliRunner().invoke(files, ["remove", post]).exit_code != 0
    assert withheld() == []
