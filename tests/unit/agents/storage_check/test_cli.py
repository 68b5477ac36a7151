import os
import subprocess
import sys
from pathlib import Path

WITHOUT_OBSTORE = """
import sys

sys.modules["obstore"] = None
from agents.storage_check.cli import storage

storage(sys.argv[1:])
"""


def run(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_OBSTORE, *arguments],
        env=os.environ | {"CLIPMILL_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_directory_is_checked_without_the_extra_of_object_stores(tmp_path: Path) -> None:
    checked = run(tmp_path, "check", "--json")
    assert checked.returncode == 0, checked.stderr
    assert '"healthy":true' in checked.stdout


def test_uploads_without_an_object_store_are_a_usage_error(tmp_path: Path) -> None:
    listed = run(tmp_path, "uploads")
    assert listed.returncode == 2
    assert "open uploads are those of s3://" in listed.stderr
