from pathlib import Path

import psutil
import pytest

from streams.memory.reading import find_limit
from streams.settings import MemorySettings

MEBIBYTE = 2**20
MACHINE = psutil.virtual_memory().total
UNLIMITED_V1 = "9223372036854771712"

V2 = "0::/"
V2_NESTED = "0::/kubepods/pod1/app"
V1 = "9:cpu,cpuacct:/a\n4:memory:/docker/abc\n1:name=systemd:/a\n"
BOTH = "4:memory:/docker/abc\n0::/\n"


def file_system(root: Path, membership: str | None, **files: str) -> Path:
    if membership is not None:
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(membership)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "mebibytes"),
    [
        pytest.param(V2, {"memory.max": "536870912\n"}, 512, id="version 2"),
        pytest.param(V2, {"memory.max": "max\n"}, None, id="version 2, no limit"),
        pytest.param(
            V2_NESTED,
            {"kubepods/pod1/app/memory.max": "max\n", "kubepods/pod1/memory.max": "1073741824\n"},
            1_024,
            id="version 2, parent group",
        ),
        pytest.param(
            V2_NESTED,
            {"kubepods/pod1/app/memory.max": "2097152\n", "kubepods/memory.max": "1048576\n"},
            1,
            id="version 2, smallest limit wins",
        ),
        pytest.param(V2_NESTED, {"memory.max": "4194304\n"}, 4, id="version 2, path of the host"),
        pytest.param(
            V1,
            {"memory/docker/abc/memory.limit_in_bytes": "8388608\n"},
            8,
            id="version 1",
        ),
        pytest.param(
            V1, {"memory/memory.limit_in_bytes": "8388608\n"}, 8, id="version 1, in a container"
        ),
        pytest.param(
            V1, {"memory/memory.limit_in_bytes": UNLIMITED_V1}, None, id="version 1, no limit"
        ),
        pytest.param(
            BOTH,
            {"memory/docker/abc/memory.limit_in_bytes": "8388608", "memory.max": "4194304"},
            4,
            id="both versions",
        ),
        pytest.param(V2, {"memory.max": "soon\n"}, None, id="not a number"),
        pytest.param(
            V2, {"memory.max": str(MACHINE * 2)}, None, id="more than the machine's memory"
        ),
        pytest.param(V2, {}, None, id="no file"),
        pytest.param(None, {"memory.max": "4194304\n"}, None, id="no cgroup file"),
        pytest.param("", {}, None, id="in no cgroup"),
    ],
)
def test_limit_is_the_container_s_or_a_share_of_the_machine(
    tmp_path: Path, membership: str | None, files: dict[str, str], mebibytes: int | None
) -> None:
    limit = find_limit(
        MemorySettings(machine_share=0.5), file_system(tmp_path, membership, **files)
    )
    if mebibytes is None:
        assert limit.limit_bytes == MACHINE // 2
        assert "machine_share" in limit.source
    else:
        assert limit.limit_bytes == mebibytes * MEBIBYTE
        assert "container" in limit.source


def test_configured_limit_takes_precedence(tmp_path: Path) -> None:
    root = file_system(tmp_path, V2, **{"memory.max": "4194304"})
    limit = find_limit(MemorySettings(limit_bytes=77), root)
    assert (limit.limit_bytes, limit.source) == (77, "memory.limit_bytes")


def test_changed_limit_is_read(tmp_path: Path) -> None:
    root = file_system(tmp_path, V2, **{"memory.max": "4194304"})
    before = find_limit(MemorySettings(), root)
    (root / "sys/fs/cgroup/memory.max").write_text("8388608")
    assert find_limit(MemorySettings(), root).limit_bytes == 2 * before.limit_bytes


def test_limit_of_this_machine_is_found() -> None:
    assert 0 < find_limit(MemorySettings()).limit_bytes <= MACHINE
