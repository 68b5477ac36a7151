import fcntl
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.accounts.cookie_file import BYTES_MAX, Content, FileFingerprint, load
from agents.accounts.cookie_saving import BusyError, Renewal, save
from agents.accounts.cookie_text import NotACookieFileError, key_of
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import SECRET, cookie, text_of, value_in, write

NOW = 2_000_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "main.txt")


def read(path: Path, known: FileFingerprint | None = None) -> Content:
    found = load(path, known)
    assert found is not None
    return found


def save_cookies(
    path: Path, *cookies: Cookie, known: FileFingerprint | None = None, at: float = NOW
) -> Content:
    renewals = {key_of(each): Renewal(each, at) for each in cookies}
    return save(path, renewals, known or read(path).fingerprint, NOW)


def test_renewed_cookie_is_written(path: Path) -> None:
    content = save_cookies(path, cookie(value="new"))
    assert value_in(path) == "new"
    assert (content.cookies, content.is_own_write) == ((cookie(value="new"),), True)
    assert load(path, content.fingerprint) is None


def test_file_keeps_its_mode_and_owner(path: Path) -> None:
    path.chmod(0o640)
    before = path.stat()
    save_cookies(path, cookie(value="new"))
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert sorted(each.name for each in path.parent.iterdir()) == [".main.txt.lock", "main.txt"]


def test_symbolic_link_is_kept(path: Path) -> None:
    link = path.with_name("link.txt")
    link.symlink_to(path)
    save_cookies(link, cookie(value="new"))
    assert link.is_symlink()
    assert value_in(path) == "new"


def test_unchanged_cookies_are_not_written(path: Path) -> None:
    before = path.stat()
    save_cookies(path, cookie())
    save_cookies(path)
    assert path.stat() == before


def test_last_cookie_is_not_removed(path: Path) -> None:
    save_cookies(path, cookie(expires_at=1.0))
    assert value_in(path) == SECRET


def test_oversized_cookie_is_not_written(path: Path) -> None:
    save_cookies(path, cookie("large", "x" * BYTES_MAX))
    assert read(path).cookies == (cookie(),)


def test_json_export_is_rewritten_in_netscape_format(path: Path) -> None:
    path.write_text(
        '[{"domain": ".tiktok.com", "name": "sessionid", "value": "old", "secure": true,'
        ' "hostOnly": false, "httpOnly": true}, "odd"]'
    )
    content = save_cookies(path, cookie("new", "n"))
    assert [(each.name, each.value) for each in content.cookies] == [
        ("sessionid", "old"),
        ("new", "n"),
    ]
    assert content.format_issues is None
    assert path.read_text().splitlines()[:3] == [
        "# Netscape HTTP Cookie File",
        "#HttpOnly_.tiktok.com\tTRUE\t/\tTRUE\t0\tsessionid\told",
        '# "odd"',
    ]


# Concurrent writers


def test_owner_change_takes_precedence(path: Path) -> None:
    known = read(path).fingerprint
    write(path, cookie(value="mine"))
    content = save_cookies(path, cookie(value="new"), cookie("other"), known=known, at=9e9)
    assert (value_in(path), content.is_own_write) == ("mine", False)
    assert content.cookies == (cookie(value="mine"),)


def test_owner_change_after_another_process_takes_precedence(path: Path) -> None:
    known = read(path).fingerprint
    save_cookies(path, cookie(value="theirs"))
    write(path, cookie(value="mine"))
    save_cookies(path, cookie(value="new"), known=known, at=9e9)
    assert value_in(path) == "mine"


@pytest.mark.parametrize(("after", "expected"), [(-1.0, "theirs"), (1.0, "new")])
def test_later_renewal_of_two_processes_wins(path: Path, after: float, expected: str) -> None:
    known = read(path).fingerprint
    theirs = save_cookies(path, cookie(value="theirs"))
    save_cookies(path, cookie(value="new"), known=known, at=theirs.written_at + after)
    assert value_in(path) == expected


def test_locked_file_is_busy(path: Path) -> None:
    known = read(path).fingerprint
    lock = os.open(path.with_name(".main.txt.lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(BusyError):
        save_cookies(path, cookie(value="new"), known=known)
    os.close(lock)
    save_cookies(path, cookie(value="new"), known=known)
    assert value_in(path) == "new"


def test_concurrent_writers_leave_a_complete_file(path: Path) -> None:
    def work(number: int) -> int:
        written = 0
        for count in range(20):
            try:
                save_cookies(path, cookie(f"n{number}", str(count)), at=9e9)
                written += 1
            except BusyError:
                pass
        return written

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(work, range(4)))
    names = {each.name for each in read(path).cookies}
    assert names >= {f"n{number}" for number, count in enumerate(written) if count}
    assert sum(written) > 0


# Failures


@pytest.mark.parametrize("broken", [b"", b"not a cookie file", b"\xff"])
def test_corrupted_file_is_left_unchanged(path: Path, broken: bytes) -> None:
    known = read(path).fingerprint
    path.write_bytes(broken)
    with pytest.raises(NotACookieFileError):
        save_cookies(path, cookie(value="new"), known=known)
    assert path.read_bytes() == broken


def test_deleted_file_is_not_recreated(path: Path) -> None:
    known = read(path).fingerprint
    path.unlink()
    with pytest.raises(FileNotFoundError):
        save_cookies(path, cookie(value="new"), known=known)
    assert not path.exists()


@pytest.mark.parametrize("step", ["open", "fchmod", "fsync", "ftruncate", "pwrite", "replace"])
def test_failed_write_leaves_the_old_file(
    path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = read(path).fingerprint

    def fail(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "replace":
            patch.setattr(Path, "replace", fail)
        else:
            patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="No space"):
            save_cookies(path, cookie(value="new"), known=known)
    assert value_in(path) == SECRET
    assert not path.with_name(".main.txt.new").exists()
    save_cookies(path, cookie(value="new"))
    assert value_in(path) == "new"


KILLED_AT = [
    "os.open",
    "os.fchmod",
    "os.fsync",
    "os.fstat",
    "os.ftruncate",
    "os.pwrite",
    "Path.replace",
]


@pytest.mark.parametrize("step", KILLED_AT)
@pytest.mark.parametrize("call", [1, 2, 3])
def test_process_killed_during_save_leaves_the_old_or_new_file(
    path: Path, step: str, call: int
) -> None:
    script = f"""
        import os, signal
        from pathlib import Path
        from agents.accounts.cookie_file import load
        from agents.accounts.cookie_saving import Renewal, save
        from agents.accounts.cookie_text import key_of
        from tests.unit.agents.accounts.sessions import cookie
        path = Path({str(path)!r})
        known, new, calls = load(path).fingerprint, cookie(value="new"), [0]
        owner, name = {step!r}.split(".")
        owner = {{"os": os, "Path": Path}}[owner]
        real = getattr(owner, name)
        def deadly(*arguments, **more):
            calls[0] += 1
            if calls[0] == {call}:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)
        setattr(owner, name, deadly)
        save(path, {{key_of(new): Renewal(new, 2e9)}}, known, 2e9)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert ended.returncode in ({-9} if call == 1 else {0, -9})
    whole = {text_of(cookie()), text_of(cookie(value="new"))}
    assert path.read_text() in whole
    save_cookies(path, cookie(value="newer"), at=9e9)
    assert value_in(path) == "newer"
    assert sorted(each.name for each in path.parent.iterdir()) == [".main.txt.lock", "main.txt"]
