from collections.abc import Callable
from pathlib import Path

import pytest

from agents.download.segments.joined_file import DATA, JOURNAL, JoinedFile

BODIES = [bytes([65 + number]) * (number + 1) for number in range(6)]


def add(joined: JoinedFile, *indexes: int) -> JoinedFile:
    for index in indexes:
        joined.partial_path(index).write_bytes(BODIES[index])
        joined.finish(index)
    return joined


def reopened(folder: Path) -> JoinedFile:
    return JoinedFile(folder, "list")


def test_segments_are_joined_in_their_order(tmp_path: Path) -> None:
    joined = add(reopened(tmp_path), 2, 0, 1, 5, 3, 4)
    assert joined.path.read_bytes() == b"".join(BODIES)
    assert joined.offsets([0, 1, 3, 6]) == [0, 1, 6, 21]
    assert {each.name for each in tmp_path.iterdir()} == {DATA, JOURNAL, "fingerprint"}


def test_finished_segments_are_known_after_a_kill(tmp_path: Path) -> None:
    joined = add(reopened(tmp_path), 0, 1, 3)
    joined.partial_path(2).write_bytes(b"half")
    again = reopened(tmp_path)
    assert [again.has(index) for index in range(5)] == [True, True, False, True, False]
    assert again.bytes_on_disk == 1 + 2 + 4
    assert not again.partial_path(2).exists()
    assert add(again, 2, 4, 5).path.read_bytes() == b"".join(BODIES)


def cut_journal(folder: Path) -> None:
    with (folder / JOURNAL).open("a") as journal:
        journal.write("12")


def append_half(folder: Path) -> None:
    with (folder / DATA).open("ab") as data:
        data.write(b"half of the next segment")


def keep_joined_segment(folder: Path) -> None:
    (folder / "1").write_bytes(BODIES[1])


@pytest.mark.parametrize("leave", [cut_journal, append_half, keep_joined_segment])
def test_interrupted_append_is_undone(tmp_path: Path, leave: Callable[[Path], None]) -> None:
    add(reopened(tmp_path), 0, 1)
    leave(tmp_path)
    again = reopened(tmp_path)
    assert again.bytes_on_disk == 3
    assert add(again, 2, 3, 4, 5).path.read_bytes() == b"".join(BODIES)


def truncate_data(folder: Path) -> None:
    (folder / DATA).write_bytes(b"A")


def remove_data(folder: Path) -> None:
    (folder / DATA).unlink()


def change_list(folder: Path) -> None:
    (folder / "fingerprint").write_text("another list")


@pytest.mark.parametrize("spoil", [truncate_data, remove_data, change_list])
def test_state_that_does_not_fit_is_discarded(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    add(reopened(tmp_path), 0, 1, 3)
    spoil(tmp_path)
    again = reopened(tmp_path)
    assert not any(again.has(index) for index in range(6))
    assert add(again, 0, 1, 2, 3, 4, 5).path.read_bytes() == b"".join(BODIES)
