import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accounts.cookie_file import UnusableFileError
from agents.accounts.cookie_sets import (
    ACCOUNTS_MAX,
    account_files,
    account_name,
    account_names,
)
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.agents.accounts.sessions import write


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
