import os
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.accounts.cookie_file import (
    BYTES_MAX,
    Content,
    Stamp,
    UnusableFileError,
    load,
    lock_path,
)
from agents.accounts.cookie_saving import Renewal, save
from agents.accounts.cookie_text import key_of
from tests.unit.agents.accounts.sessions import SECRET, cookie, write

NOW = 2_000_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "main.txt")


def read(path: Path, known: Stamp | None = None) -> Content:
    found = load(path, known)
    assert found is not None
    return found


def test_a_file_is_read_when_it_has_changed(path: Path) -> None:
    first = read(path)
    assert first.cookies == (cookie(),)
    assert load(path, first.stamp) is None
    write(path, cookie(value="anothr"))
    assert [each.value for each in read(path, first.stamp).cookies] == ["anothr"]


def test_a_file_with_a_mark_of_its_encoding_is_read(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path).cookies == (cookie(),)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "there is no cookie in it"),
        (b"# only a remark", "there is no cookie in it"),
        (f"sessionid={SECRET}".encode(), "line 1 has 1 fields, not 7"),
        (b"\xff\xfe", "there is no cookie in it"),
        (b"SQLite format 3\0" + b"\0" * 99, "a browser's own database"),
        (b"x" * (BYTES_MAX + 1), f"it has more than {BYTES_MAX} bytes"),
    ],
)
def test_what_is_no_cookie_file_is_a_matter_of_settings(
    path: Path, data: bytes, reason: str
) -> None:
    path.write_bytes(data)
    with pytest.raises(UnusableFileError, match=reason) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert str(path) not in caught.value.reason
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_what_is_not_to_be_read_is_a_matter_of_settings(path: Path) -> None:
    path.unlink()
    with pytest.raises(UnusableFileError, match="No such file"):
        load(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


NO_FILES: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a socket": make_socket,
    "a device": link_to("/dev/zero"),
    "a link to nowhere": link_to("nowhere"),
    "a link to where the cookies should be": link_to("main.txt"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_refused_at_once(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.unlink()
    monkeypatch.chdir(path.parent)
    NO_FILES[name](Path(path.name))
    with pytest.raises(UnusableFileError, match="cannot be used: "):
        load(path)


def test_a_file_of_any_size_is_refused_at_once(path: Path) -> None:
    os.truncate(path, 2**40)
    with pytest.raises(UnusableFileError, match=f"more than {BYTES_MAX} bytes"):
        load(path)


# What lies where the lock should be


def saved(path: Path) -> Content:
    new = cookie(value="new")
    return save(path, {key_of(new): Renewal(new, NOW)}, read(path).stamp, NOW)


def a_large_note(lock: Path) -> None:
    lock.touch()
    os.truncate(lock, 2**30)


def a_padded_note(lock: Path) -> None:
    """A note that would be ours, with more spaces than it can have."""
    path = lock.with_name("main.txt")
    saved(path)
    lock.write_bytes(lock.read_bytes() + b" " * 1_000)


def noise(lock: Path) -> None:
    lock.write_bytes(b"\xff")


def a_deep_note(lock: Path) -> None:
    lock.write_bytes(b'{"x":' + b"[" * 990)


def a_note_elsewhere(lock: Path) -> None:
    saved(lock.with_name("main.txt"))
    lock.symlink_to(lock.rename(lock.with_name("elsewhere")))


LOCKS: dict[str, Callable[[Path], None]] = {
    **NO_FILES,
    "a large file": a_large_note,
    "a note that is too long": a_padded_note,
    "a link to a note": a_note_elsewhere,
    "noise": noise,
    "deep": a_deep_note,
}


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_no_note_of_ours_says_nothing(path: Path, name: str) -> None:
    LOCKS[name](lock_path(path))
    tracemalloc.start()
    content = read(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not content.ours
    assert most < 3 * BYTES_MAX


def test_a_note_of_ours_tells_that_the_file_is(path: Path) -> None:
    assert saved(path).ours
    assert read(path).ours


@pytest.mark.parametrize("name", NO_FILES)
def test_a_lock_that_is_no_file_is_not_written(path: Path, name: str) -> None:
    lock = lock_path(path)
    NO_FILES[name](lock)
    before = lock.lstat()
    with pytest.raises(
        OSError, match=r"no regular file|symbolic links|directory|device or address"
    ):
        saved(path)
    assert lock.lstat() == before
    assert read(path).cookies == (cookie(),)


def test_what_a_lock_leads_to_is_not_written(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("dear")
    lock_path(path).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        saved(path)
    assert victim.read_text() == "dear"


def test_a_lock_that_is_exchanged_while_it_is_held_is_not_followed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, lock = path.with_name("victim"), lock_path(path)
    victim.write_text("dear")
    real = os.fsync

    def exchange(descriptor: int) -> None:
        lock.unlink(missing_ok=True)
        lock.symlink_to(victim)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", exchange)
    saved(path)
    assert victim.read_text() == "dear"


def test_a_name_writes_no_line_of_a_log(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError) as caught:
        load(tmp_path / "a\nERROR all is lost\x1b.txt")
    assert str(caught.value).isprintable()
    assert r"a\nERROR all is lost\x1b.txt" in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o400, False), (0o644, True), (0o602, True)]
)
def test_others_that_may_read_a_file_are_noticed(path: Path, mode: int, exposed: bool) -> None:
    path.chmod(mode)
    assert read(path).exposed is exposed


def test_a_content_does_not_show_its_cookies(path: Path) -> None:
    assert SECRET not in repr(read(path))
    assert "1 cookies" in repr(read(path))
