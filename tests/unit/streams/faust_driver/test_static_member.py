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
    """The directory of a consumer group, in the one of all groups."""
    directory = tmp_path / "group"
    directory.mkdir()
    return directory


def ids(directory: Path, count: int) -> list[str | None]:
    with ExitStack() as stack:
        return [
            stack.enter_context(leased_member(directory, TOPICS)).instance_id for _ in range(count)
        ]


def test_workers_on_one_directory_have_different_ids(group: Path) -> None:
    assert len(set(ids(group, 3))) == 3


def test_a_worker_that_starts_again_has_the_id_that_it_had(group: Path) -> None:
    first = ids(group, 3)
    assert ids(group, 3) == first


def test_the_id_of_a_worker_that_ended_is_the_next_one_to_be_taken(group: Path) -> None:
    with ExitStack() as others:
        with leased_member(group, TOPICS) as ended:
            others.enter_context(leased_member(group, TOPICS))
        with leased_member(group, TOPICS) as back:
            assert back.instance_id == ended.instance_id


def test_a_killed_process_frees_its_id(group: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from streams.faust_driver.static_member import *\n"
        f"with leased_member(Path({str(group)!r}), {TOPICS!r}) as member:\n"
        "    print(member.instance_id, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    taken = child.stdout.readline().strip()
    with leased_member(group, TOPICS) as beside:
        assert beside.instance_id != taken
    child.kill()
    child.wait()
    child.stdout.close()
    with leased_member(group, TOPICS) as back:
        assert back.instance_id == taken


def test_two_data_directories_of_one_host_have_different_ids(group: Path) -> None:
    (group / "other").mkdir()
    assert ids(group, 1) != ids(group / "other", 1)


def test_a_worker_has_the_same_id_in_all_groups_but_for_the_topics(group: Path) -> None:
    other = group.parent / "other"
    other.mkdir()
    with leased_member(group, ["a"]) as first, leased_member(other, ["b"]) as second:
        ids_of = [str(member.instance_id).rpartition("-") for member in (first, second)]
    assert ids_of[0][0] == ids_of[1][0]
    assert ids_of[0][2] != ids_of[1][2]


@pytest.mark.parametrize("host", ["box-1.example", "Ünïcode host", "x" * 300, ""])
def test_an_id_is_legal_whatever_the_host_is_called(
    group: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    (made,) = ids(group, 1)
    assert made is not None
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert len(made) < 249


def test_a_copied_directory_makes_another_id_on_another_host(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ids(group, 1)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert ids(group, 1) != here


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"a b", b"x" * 10_000])
def test_a_damaged_id_is_made_again(group: Path, damage: bytes) -> None:
    before = ids(group, 1)
    (group.parent / "instance-0.id").write_bytes(damage)
    again = ids(group, 1)
    assert again != before
    assert ids(group, 1) == again


def test_a_chosen_id_is_recognised(group: Path) -> None:
    with leased_member(group, TOPICS, "worker-7") as member:
        assert (member.instance_id or "").startswith("worker-7-")


@pytest.mark.parametrize("chosen", [None, "worker-7"])
def test_a_release_that_reads_other_topics_is_another_member(
    group: Path, chosen: str | None
) -> None:
    seen = []
    for reads in (["a", "b"], ["b", "a"], ["a", "b", "c"], ["ab"]):
        with leased_member(group, reads, chosen) as member:
            seen.append(member.instance_id)
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


def test_a_chosen_id_in_use_is_refused_by_the_name_of_its_setting(group: Path) -> None:
    with (
        leased_member(group, TOPICS, "worker-7"),
        pytest.raises(InstanceIdError, match=r"kafka\.group_instance_id: 'worker-7'"),
        leased_member(group, TOPICS, "worker-7"),
    ):
        pass


def test_a_directory_that_takes_no_file_makes_a_dynamic_member(
    group: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with leased_member(group / "missing", TOPICS) as member:
        assert member.instance_id is None
    assert "no group instance id can be leased" in caplog.text
