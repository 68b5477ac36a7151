import os
import re
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accounts.cookie_file import (
    ACCOUNTS_MAX,
    BYTES_MAX,
    Content,
    FileFingerprint,
    UnusableFileError,
    account_files,
    account_name,
    account_names,
    load,
    lock_path,
)
from agents.accounts.cookie_saving import Renewal, save
from agents.accounts.cookie_text import key_of
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.agents.accounts.sessions import SECRET, cookie, write

NOW = 2_000_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "main.txt")


def read(path: Path, known: FileFingerprint | None = None) -> Content:
    found = load(path, known)
    assert found is not None
    return found


def test_file_is_reread_only_after_a_change(path: Path) -> None:
    first = read(path)
    assert first.cookies == (cookie(),)
    assert load(path, first.fingerprint) is None
    write(path, cookie(value="anothr"))
    assert [each.value for each in read(path, first.fingerprint).cookies] == ["anothr"]


def test_file_with_a_byte_order_mark_is_read(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path).cookies == (cookie(),)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it has no cookie"),
        (b"# only a remark", "it has no cookie"),
        (f"sessionid={SECRET}".encode(), "line 1 has 1 fields, not 7"),
        (b"\xff\xfe", "it has no cookie"),
        (b"SQLite format 3\0" + b"\0" * 99, "the database of a browser"),
        (b"x" * (BYTES_MAX + 1), f"it has more than {BYTES_MAX} bytes"),
    ],
)
def test_other_content_is_an_unusable_file(path: Path, data: bytes, reason: str) -> None:
    path.write_bytes(data)
    with pytest.raises(UnusableFileError, match=reason) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert str(path) not in caught.value.reason
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_missing_file_is_an_unusable_file(path: Path) -> None:
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
    "a link to itself": link_to("main.txt"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_other_file_types_are_refused_without_blocking(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.unlink()
    monkeypatch.chdir(path.parent)
    NO_FILES[name](Path(path.name))
    with pytest.raises(UnusableFileError, match="cannot be used: "):
        load(path)


def test_oversized_file_is_refused(path: Path) -> None:
    os.truncate(path, 2**40)
    with pytest.raises(UnusableFileError, match=f"more than {BYTES_MAX} bytes"):
        load(path)


# Other content at the path of the lock file


def save_new_cookie(path: Path) -> Content:
    new = cookie(value="new")
    return save(path, {key_of(new): Renewal(new, NOW)}, read(path).fingerprint, NOW)


def write_large_file(lock: Path) -> None:
    lock.touch()
    os.truncate(lock, 2**30)


def write_padded_lock(lock: Path) -> None:
    """Write a lock file of ours, padded beyond its size."""
    path = lock.with_name("main.txt")
    save_new_cookie(path)
    lock.write_bytes(lock.read_bytes() + b" " * 1_000)


def write_noise(lock: Path) -> None:
    lock.write_bytes(b"\xff")


def write_deep_json(lock: Path) -> None:
    lock.write_bytes(b'{"x":' + b"[" * 990)


def link_to_own_lock(lock: Path) -> None:
    save_new_cookie(lock.with_name("main.txt"))
    lock.symlink_to(lock.rename(lock.with_name("elsewhere")))


LOCKS: dict[str, Callable[[Path], None]] = {
    **NO_FILES,
    "a large file": write_large_file,
    "an oversized lock file": write_padded_lock,
    "a link to a lock file": link_to_own_lock,
    "noise": write_noise,
    "deep": write_deep_json,
}


@pytest.mark.parametrize("name", LOCKS)
def test_foreign_content_of_the_lock_file_is_ignored(path: Path, name: str) -> None:
    LOCKS[name](lock_path(path))
    tracemalloc.start()
    content = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not content.is_own_write
    assert peak < 3 * BYTES_MAX


def test_own_lock_file_identifies_an_own_write(path: Path) -> None:
    assert save_new_cookie(path).is_own_write
    assert read(path).is_own_write


@pytest.mark.parametrize("name", NO_FILES)
def test_lock_that_is_no_regular_file_is_not_written(path: Path, name: str) -> None:
    lock = lock_path(path)
    NO_FILES[name](lock)
    before = lock.lstat()
    with pytest.raises(
        OSError, match=r"not a regular file|symbolic links|directory|device or address"
    ):
        save_new_cookie(path)
    assert lock.lstat() == before
    assert read(path).cookies == (cookie(),)


def test_target_of_a_linked_lock_is_not_written(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("dear")
    lock_path(path).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        save_new_cookie(path)
    assert victim.read_text() == "dear"


def test_lock_replaced_while_held_is_not_followed(
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
    save_new_cookie(path)
    assert victim.read_text() == "dear"


def test_file_name_cannot_inject_log_lines(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError) as caught:
        load(tmp_path / "a\nERROR all is lost\x1b.txt")
    assert str(caught.value).isprintable()
    assert r"a\nERROR all is lost\x1b.txt" in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o400, False), (0o644, True), (0o602, True)]
)
def test_file_accessible_to_others_is_exposed(path: Path, mode: int, exposed: bool) -> None:
    path.chmod(mode)
    assert read(path).exposed is exposed


def test_repr_of_the_content_hides_cookies(path: Path) -> None:
    assert SECRET not in repr(read(path))
    assert "1 cookies" in repr(read(path))


# Accounts of files and folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("b.txt", "a.txt", ".a.txt.lock", ".hidden.txt", "notes.md"):
        write(folder / name)
    return folder


def test_file_is_an_account(tmp_path: Path) -> None:
    main, other = tmp_path / "main.txt", tmp_path / "other.cookies"
    assert account_files([main, other]) == {"main": main, "other": other}
    assert account_names([main, other]) == ("main", "other")


def test_folder_has_an_account_for_each_file(folder: Path, tmp_path: Path) -> None:
    assert account_files([folder]) == {"a": folder / "a.txt", "b": folder / "b.txt"}
    assert account_names([folder, tmp_path / "main.txt"]) == ("a", "b", "main")
    write(folder / "c.txt")
    assert account_names([folder]) == ("a", "b", "c")


def test_first_of_two_files_of_one_name_is_used(folder: Path, tmp_path: Path) -> None:
    twin = write(tmp_path / "a.txt")
    assert account_files([twin, folder])["a"] == twin
    assert account_files([folder, twin])["a"] == folder / "a.txt"
    assert account_names([twin, folder]) == ("a", "b")


def test_existing_file_without_a_suffix_is_a_file(tmp_path: Path) -> None:
    assert account_names([write(tmp_path / "cookies")]) == ("cookies",)


def test_missing_folder_counts_as_one_account(tmp_path: Path) -> None:
    assert account_names([tmp_path / "away"]) == ("*",)
    assert account_names([tmp_path / "away", tmp_path / "main.txt"]) == ("*", "main")
    with pytest.raises(UnusableFileError, match="No such file"):
        account_files([tmp_path / "away"])


def test_number_of_accounts_is_bounded(folder: Path) -> None:
    for number in range(ACCOUNTS_MAX - 2):
        (folder / f"n{number:03}.txt").touch()
    assert len(account_files([folder])) == len(account_names([folder])) == ACCOUNTS_MAX
    write(folder / "c.txt")
    assert len(account_names([folder])) == ACCOUNTS_MAX
    with pytest.raises(ClipmillError, match=f"{ACCOUNTS_MAX + 1} cookie files") as caught:
        account_files([folder])
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


def test_no_paths_give_no_accounts() -> None:
    assert account_files([]) == {}
    assert account_names([]) == ()


# Names


@pytest.mark.parametrize(
    "stem", ["main", "me@mail.example", "a.b-c_d+1", "A" * 64, "0", "-", ".x"], ids=ascii
)
def test_safe_stem_is_the_name(stem: str) -> None:
    assert account_name(Path("folder", f"{stem}.txt")) == stem


@pytest.mark.parametrize(
    ("stem", "prefix"),
    [
        ("my account", "my_account-"),
        ("a\nERROR all is lost", "a_ERROR_all_is_lost-"),
        ("größe", "gr__e-"),
        ("*", "_-"),
        ('a"b', "a_b-"),
        ("\x1b[2J", "__2J-"),
        ("\udcff", "_-"),
        ("A" * 65, "A" * 55 + "-"),
    ],
    ids=ascii,
)
def test_unsafe_stem_is_escaped_and_suffixed(stem: str, prefix: str) -> None:
    name = account_name(Path("folder", f"{stem}.txt"))
    assert re.fullmatch(re.escape(prefix) + r"[0-9a-f]{8}", name)


FILE_NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=80
).filter(lambda stem: set(stem) != {"."})


@given(one=FILE_NAMES, other=FILE_NAMES)
def test_names_are_safe_to_log_and_unique(one: str, other: str) -> None:
    names = [account_name(Path(f"{stem}.txt")) for stem in (one, other)]
    assert all(re.fullmatch(r"[\w.@+-]{1,64}", name, re.ASCII) for name in names)
    assert (names[0] == names[1]) is (one == other)


def test_similar_file_names_are_two_accounts(tmp_path: Path) -> None:
    files = [write(tmp_path / name) for name in ("a b.txt", "a\nb.txt")]
    found = account_files([tmp_path])
    assert sorted(found.values()) == sorted(files)
    assert tuple(found) == account_names([tmp_path])
