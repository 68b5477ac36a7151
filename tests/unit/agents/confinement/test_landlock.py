import subprocess
import sys
from pathlib import Path

import pytest

TRY = """
import os, sys
from agents.confinement.landlock import restrict_files
from agents.confinement.seccomp import install_filter
install_filter([(0x06, 0, 0, 0x7FFF0000)])
if not restrict_files((sys.argv[1], "/no/such/folder")):
    sys.exit("no Landlock")
try:
    {what}
except PermissionError:
    print("refused")
else:
    print("done")
"""


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        ("open(sys.argv[1] + '/in/file')", "done"),
        ("os.listdir(sys.argv[1])", "done"),
        ("open(sys.argv[2])", "refused"),
        ("open(sys.argv[1] + '/../outside')", "refused"),
        ("open('/proc/self/environ')", "refused"),
        ("open(sys.argv[1] + '/in/file', 'a')", "refused"),
        ("open(sys.argv[1] + '/new', 'w')", "refused"),
        ("os.unlink(sys.argv[1] + '/in/file')", "refused"),
        ("os.mkdir(sys.argv[1] + '/new')", "refused"),
        ("os.symlink('/etc', sys.argv[1] + '/new')", "refused"),
        ("os.truncate(sys.argv[1] + '/in/file', 0)", "refused"),
        ("os.execv('/bin/sh', ['sh'])", "refused"),
        ("os.write(1, b'')", "done"),
    ],
)
def test_only_the_given_paths_can_be_read(tmp_path: Path, what: str, outcome: str) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    (folder / "in").mkdir(parents=True)
    for each in (folder / "in" / "file", outside):
        each.write_text("content")
    child = subprocess.run(
        [sys.executable, "-c", TRY.format(what=what), str(folder), str(outside)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "no Landlock" in child.stderr:
        pytest.skip("the kernel has no Landlock")
    assert child.stdout.strip() == outcome, child.stderr
