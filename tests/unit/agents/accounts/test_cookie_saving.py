import fcntl
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.accounts.cookie_file import BYTES_MAX, Content, Stamp, load
from agents.accounts.cookie_saving import BusyError, Renewal, save
from agents.accounts.cookie_text import NotACookieFileError, key_of
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import SECRET, cookie, text_of, value_in, write

NOW = 2_000_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "main.txt")


def read(path: Path, known: Stamp | None = None) -> Content:
    found = load(path, known)
    assert found is not None
    return found


def put(path: Path, *cookies: Cookie, known: Stamp | None = None, at: float = NOW) -> Content:
    renewals = {key_of(each): Renewal(each, at) for each in cookies}
    return save(path, renewals, known or read(path).stamp, NOW)


def test_a_renewed_cookie_is_written(path: Path) -> None:
    content = put(path, cookie(value="new"))
    assert value_in(path) == "new"
    assert (content.cookies, content.ours) == ((cookie(value="new"),), True)
    assert load(path, content.stamp) is None


def test_the_file_stays_who_it_is(path: Path) -> None:
    path.chmod(0o640)
    before = path.stat()
    put(path, cookie(value="new"))
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert sorted(each.name for each in path.parent.iterdir()) == [".main.txt.lock", "main.txt"]


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.with_name("link.txt")
    link.symlink_to(path)
    put(link, cookie(value="new"))
    assert link.is_symlink()
    assert value_in(path) == "new"


def test_nothing_new_is_not_written(path: Path) -> None:
    before = path.stat()
    put(path, cookie())
    put(path)
    assert path.stat() == before


def test_the_last_cookie_is_not_taken_out(path: Path) -> None:
    put(path, cookie(expires_at=1.0))
    assert value_in(path) == SECRET


def test_a_file_does_not_grow_without_end(path: Path) -> None:
    put(path, cookie("large", "x" * BYTES_MAX))
    assert read(path).cookies == (cookie(),)


def test_a_json_export_becomes_a_file_in_the_format(path: Path) -> None:
    path.write_text(
        '[{"domain": ".tiktok.com", "name": "sessionid", "value": "old", "secure": true,'
        ' "hostOnly": false, "httpOnly": true}, "odd"]'
    )
    content = put(path, cookie("new", "n"))
    assert [(each.name, each.value) for each in content.cookies] == [
        ("sessionid", "old"),
        ("new", "n"),
    ]
    assert content.oddities is None
    assert path.read_text().splitlines()[:3] == [
        "# Netscape HTTP Cookie File",
        "#HttpOnly_.tiktok.com\tTRUE\t/\tTRUE\t0\tsessionid\told",
        '# "odd"',
    ]


# Two who write


def test_an_owners_change_wins(path: Path) -> None:
    known = read(path).stamp
    write(path, cookie(value="mine"))
    content = put(path, cookie(value="new"), cookie("other"), known=known, at=9e9)
    assert (value_in(path), content.ours) == ("mine", False)
    assert content.cookies == (cookie(value="mine"),)


def test_an_owners_change_wins_over_what_another_process_wrote_before(path: Path) -> None:
    known = read(path).stamp
    put(path, cookie(value="theirs"))
    write(path, cookie(value="mine"))
    put(path, cookie(value="new"), known=known, at=9e9)
    assert value_in(path) == "mine"


@pytest.mark.parametrize(("after", "expected"), [(-1.0, "theirs"), (1.0, "new")])
def test_of_two_processes_the_later_renewal_wins(path: Path, after: float, expected: str) -> None:
    known = read(path).stamp
    theirs = put(path, cookie(value="theirs"))
    put(path, cookie(value="new"), known=known, at=theirs.written_at + after)
    assert value_in(path) == expected


def test_a_process_that_writes_is_not_disturbed(path: Path) -> None:
    known = read(path).stamp
    lock = os.open(path.with_name(".main.txt.lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(BusyError):
        put(path, cookie(value="new"), known=known)
    os.close(lock)
    put(path, cookie(value="new"), known=known)
    assert value_in(path) == "new"


def test_many_writers_leave_a_whole_file(path: Path) -> None:
    def work(number: int) -> int:
        written = 0
        for count in range(20):
            try:
                put(path, cookie(f"n{number}", str(count)), at=9e9)
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
def test_what_is_no_cookie_file_any_more_is_left(path: Path, broken: bytes) -> None:
    known = read(path).stamp
    path.write_bytes(broken)
    with pytest.raises(NotACookieFileError):
        put(path, cookie(value="new"), known=known)
    assert path.read_bytes() == broken


def test_a_file_that_is_gone_stays_gone(path: Path) -> None:
    known = read(path).stamp
    path.unlink()
    with pytest.raises(FileNotFoundError):
        put(path, cookie(value="new"), known=known)
    assert not path.exists()


@pytest.mark.parametrize("step", ["open", "fchmod", "fsync", "ftruncate", "pwrite", "replace"])
def test_a_write_that_fails_leaves_the_old_file(
    path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = read(path).stamp

    def fail(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "replace":
            patch.setattr(Path, "replace", fail)
        else:
            patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="No space"):
            put(path, cookie(value="new"), known=known)
    assert value_in(path) == SECRET
    assert not path.with_name(".main.txt.new").exists()
    put(path, cookie(value="new"))
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
def test_killed_anywhere_the_old_or_the_new_file_is_there(path: Path, step: str, call: int) -> None:
    """A process is killed in the middle of ``save``; another one goes on."""
    script = f"""
        import os, signal
        from pathlib import Path
        from agents.accounts.cookie_file import load
        from agents.accounts.cookie_saving import Renewal, save
        from agents.accounts.cookie_text import key_of
        from tests.unit.agents.accounts.sessions import cookie
        path = Path({str(path)!r})
        known, new, calls = load(path).stamp, cookie(value="new"), [0]
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
    put(path, cookie(value="newer"), at=9e9)
    assert value_in(path) == "newer"
    assert sorted(each.name for each in path.parent.iterdir()) == [".main.txt.lock", "main.txt"]
