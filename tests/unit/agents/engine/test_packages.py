import shutil
import sys
from pathlib import Path

import pytest
import yt_dlp

from agents.engine import packages
from agents.engine.fork_client import engine_environment
from agents.engine.packages import check_packages
from schemas.errors import ClipmillError, ErrorCode


async def refusal_message(directory: Path, first: Path | None = None) -> str:
    with pytest.raises(ClipmillError) as caught:
        await check_packages(directory, engine_environment(first or directory))
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert str(directory) in str(caught.value)
    assert "engine.packages_dir" in str(caught.value)
    return str(caught.value)


def make_package(directory: Path, text: str) -> Path:
    """Create a folder with a yt_dlp package of this text."""
    (directory / "yt_dlp").mkdir(parents=True)
    (directory / "yt_dlp" / "__init__.py").write_text(text)
    return directory


async def test_folder_without_yt_dlp_is_refused(tmp_path: Path) -> None:
    assert "it has no yt_dlp" in await refusal_message(tmp_path)
    assert "it has no yt_dlp" in await refusal_message(tmp_path / "not there")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('half an installation')", "RuntimeError: half an installation"),
        ("", "yt_dlp"),
        ("def", "SyntaxError"),
        ("import os; os._exit(3)", "without a reason"),
    ],
)
async def test_broken_yt_dlp_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    assert reason in await refusal_message(make_package(tmp_path, text))


async def test_yt_dlp_from_elsewhere_is_refused(tmp_path: Path) -> None:
    directory = make_package(tmp_path / "late", "")
    installed = Path(yt_dlp.__file__).parents[1]
    assert f"yt_dlp is imported from {installed}" in await refusal_message(directory, installed)


async def test_import_check_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "CHECK_SECONDS", 0.2)
    directory = make_package(tmp_path, "import time; time.sleep(60)")
    assert "the import took longer than" in await refusal_message(directory)


async def test_copied_yt_dlp_is_accepted(tmp_path: Path) -> None:
    source = Path(yt_dlp.__file__).parent
    shutil.copytree(source, tmp_path / "yt_dlp", ignore=shutil.ignore_patterns("__pycache__"))
    await check_packages(tmp_path, engine_environment(tmp_path))


def test_packages_dir_is_first_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = engine_environment(Path("packages"))["PYTHONPATH"].split(":")
    assert made[0] == str(tmp_path / "packages")
    assert made[1:] == [entry or str(tmp_path) for entry in sys.path]
