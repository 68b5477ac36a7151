import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.faust_driver.static_member import InstanceIdError, leased_member

TOPICS = ["requests", "rows"]


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """Directory of a consumer group, inside that of all groups."""
    directory = tmp_path / "group"
    directory.mkdir()
    return directory


def leased_ids(directory: Path, count: int) -> list[str | None]:
    with ExitStack() as stack:
        return [
            stack.enter_context(leased_member(directory, TOPICS)).instance_id for _ in range(count)
        ]


def test_workers_with_one_directory_have_different_ids(group: Path) -> None:
    assert len(set(leased_ids(group, 3))) == 3


def test_restarted_worker_gets_its_previous_id(group: Path) -> None:
    first = leased_ids(group, 3)
    assert leased_ids(group, 3) == first


@pytest.mark.parametrize(("configured", "lease"), [(None, "instance-0"), ("a", "chosen-a")])
def test_lease_names_neither_host_nor_topics(
    group: Path, configured: str | None, lease: str
) -> None:
    """The directory of the rows stays with a new container, and with other topics."""
    for topics in (TOPICS, ["others"]):
        with leased_member(group, topics, configured) as member:
            assert member.lease == lease


def test_released_id_is_leased_next(group: Path) -> None:
    with ExitStack() as others:
        with leased_member(group, TOPICS) as ended:
            others.enter_context(leased_member(group, TOPICS))
        with leased_member(group, TOPICS) as restarted:
            assert restarted.instance_id == ended.instance_id


def test_killed_process_releases_its_id(group: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from streams.faust_driver.static_member import *\n"
        f"with leased_member(Path({str(group)!r}), {TOPICS!r}) as member:\n"
        "    print(member.instance_id, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    leased = child.stdout.readline().strip()
    with leased_member(group, TOPICS) as other:
        assert other.instance_id != leased
    child.kill()
    child.wait()
    child.stdout.close()
    with leased_member(group, TOPICS) as restarted:
        assert restarted.instance_id == leased


def test_two_data_directories_of_one_host_have_different_ids(group: Path) -> None:
    (group / "other").mkdir()
    assert leased_ids(group, 1) != leased_ids(group / "other", 1)


def test_id_of_a_worker_differs_between_groups_only_by_the_topics(group: Path) -> None:
    other = group.parent / "other"
    other.mkdir()
    with leased_member(group, ["a"]) as first, leased_member(other, ["b"]) as second:
        ids_of = [str(member.instance_id).rpartition("-") for member in (first, second)]
    assert ids_of[0][0] == ids_of[1][0]
    assert ids_of[0][2] != ids_of[1][2]


@pytest.mark.parametrize("host", ["box-1.example", "Ünïcode host", "x" * 300, ""])
def test_id_is_valid_for_any_host_name(
    group: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    (made,) = leased_ids(group, 1)
    assert made is not None
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert len(made) < 249


def test_copied_directory_gives_another_id_on_another_host(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = leased_ids(group, 1)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert leased_ids(group, 1) != here


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"a b", b"x" * 10_000])
def test_corrupt_id_file_is_replaced(group: Path, damage: bytes) -> None:
    before = leased_ids(group, 1)
    (group.parent / "instance-0.id").write_bytes(damage)
    again = leased_ids(group, 1)
    assert again != before
    assert leased_ids(group, 1) == again


def test_configured_id_is_the_prefix_of_the_instance_id(group: Path) -> None:
    with leased_member(group, TOPICS, "worker-7") as member:
        assert (member.instance_id or "").startswith("worker-7-")


@pytest.mark.parametrize("configured", [None, "worker-7"])
def test_worker_with_other_topics_is_another_member(group: Path, configured: str | None) -> None:
    seen = []
    for reads in (["a", "b"], ["b", "a"], ["a", "b", "c"], ["ab"]):
        with leased_member(group, reads, configured) as member:
            seen.append(member.instance_id)
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


def test_configured_id_in_use_raises_with_the_setting(group: Path) -> None:
    with (
        leased_member(group, TOPICS, "worker-7"),
        pytest.raises(InstanceIdError, match=r"kafka\.group_instance_id: 'worker-7'"),
        leased_member(group, TOPICS, "worker-7"),
    ):
        pass


def test_unwritable_directory_gives_a_dynamic_member(
    group: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with leased_member(group / "missing", TOPICS) as member:
        assert member.instance_id is None
    assert "no group instance id can be leased" in caplog.text
