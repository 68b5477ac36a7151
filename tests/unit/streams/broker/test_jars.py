import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest
from urllib3.util import Retry

from streams.broker import jar_download
from streams.broker.jars import JarError, Patience, default_cache_dir, ensure_jars
from streams.broker.pinning import Jar
from streams.file_lock import FileLock


class Repository(ThreadingHTTPServer):
    """A Maven repository on loopback: what it sends by path, and what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.failures: dict[str, list[int]] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/maven2"

    def publish(self, name: str, content: bytes) -> Jar:
        path = PurePosixPath("org/example") / name
        self.files[f"/maven2/{path}"] = content
        return Jar(path, len(content), hashlib.sha256(content).hexdigest())


class Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        failures = self.server.failures.get(self.path)
        content = self.server.files.get(self.path, b"")
        self.send_response(failures.pop(0) if failures else 200 if content else 404)
        # Without a length the end of the connection is the end of the file.
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository() -> Iterator[Repository]:
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def two(repository: Repository) -> list[Jar]:
    return [repository.publish("a.jar", b"alpha" * 50_000), repository.publish("b.jar", b"beta")]


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in (cache / "kafka-jars").glob("*.part")]


def test_missing_jars_are_fetched_once(
    tmp_path: Path, repository: Repository, two: list[Jar]
) -> None:
    paths = ensure_jars(tmp_path, two, repository=repository.url)
    assert [path.read_bytes() for path in paths] == [b"alpha" * 50_000, b"beta"]
    assert ensure_jars(tmp_path, two, repository=repository.url) == paths
    assert len(repository.asked) == 2
    assert not leftovers(tmp_path)


def test_a_complete_cache_needs_no_network(
    tmp_path: Path, repository: Repository, two: list[Jar]
) -> None:
    paths = ensure_jars(tmp_path, two, repository=repository.url)
    assert ensure_jars(tmp_path, two, repository="http://127.0.0.1:1") == paths


def test_only_what_is_missing_is_fetched(
    tmp_path: Path, repository: Repository, two: list[Jar]
) -> None:
    paths = ensure_jars(tmp_path, two, repository=repository.url)
    paths[1].unlink()
    repository.asked.clear()
    ensure_jars(tmp_path, two, repository=repository.url)
    assert repository.asked == ["/maven2/org/example/b.jar"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"", id="emptied"),
        pytest.param(b"bet", id="cut short"),
        pytest.param(b"BETA", id="same length"),
        pytest.param(b"beta and more", id="longer"),
    ],
)
def test_a_damaged_jar_in_the_cache_is_refused_by_name(
    tmp_path: Path, repository: Repository, two: list[Jar], damage: bytes
) -> None:
    path = ensure_jars(tmp_path, two, repository=repository.url)[1]
    path.write_bytes(damage)
    with pytest.raises(JarError, match=r"b\.jar is not the file .* Delete it"):
        ensure_jars(tmp_path, two, repository=repository.url)
    assert path.read_bytes() == damage


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"bet", id="cut short"),
        pytest.param(b"BETA", id="same length"),
        pytest.param(b"beta" * 100_000, id="longer"),
    ],
)
def test_another_file_from_the_network_is_refused_and_not_kept(
    tmp_path: Path, repository: Repository, two: list[Jar], sent: bytes
) -> None:
    repository.files["/maven2/org/example/b.jar"] = sent
    with pytest.raises(JarError, match=r"/b\.jar sent something else"):
        ensure_jars(tmp_path, two, repository=repository.url)
    assert not (tmp_path / "kafka-jars" / "b.jar").exists()
    assert not leftovers(tmp_path)


def test_an_absent_jar_says_where_it_was_looked_for(tmp_path: Path, repository: Repository) -> None:
    jar = Jar(PurePosixPath("org/example/c.jar"), 1, "0" * 64)
    with pytest.raises(JarError, match=r"cannot download .*/maven2/org/example/c\.jar.*404"):
        ensure_jars(tmp_path, [jar], repository=repository.url)


def test_without_network_the_error_says_what_to_do(
    tmp_path: Path, two: list[Jar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jar_download, "_RETRY", Retry(total=0))
    with pytest.raises(JarError, match="copy the folder of a machine that has the jars"):
        ensure_jars(tmp_path, two, repository="http://127.0.0.1:1")


def test_a_busy_repository_is_asked_again(
    tmp_path: Path, repository: Repository, two: list[Jar]
) -> None:
    repository.failures["/maven2/org/example/b.jar"] = [503]
    ensure_jars(tmp_path, two, repository=repository.url)
    assert repository.asked.count("/maven2/org/example/b.jar") == 2


def test_what_a_killed_process_left_is_removed(
    tmp_path: Path, repository: Repository, two: list[Jar]
) -> None:
    folder = tmp_path / "kafka-jars"
    folder.mkdir()
    (folder / "b.jarx1.part").write_bytes(b"be")
    ensure_jars(tmp_path, two, repository=repository.url)
    assert not leftovers(tmp_path)


def test_two_processes_at_once_fetch_each_jar_once(
    tmp_path: Path, repository: Repository, two: list[Jar]
) -> None:
    program = (
        "import sys; from pathlib import Path; from streams.broker.jars import ensure_jars;"
        "from streams.broker.pinning import parse_lock;"
        "ensure_jars(Path(sys.argv[1]), parse_lock(sys.argv[2]), repository=sys.argv[3])"
    )
    lock = "\n".join(f"{jar.sha256} {jar.size} {jar.path}" for jar in two)
    command = [sys.executable, "-c", program, str(tmp_path), lock, repository.url]
    children = [subprocess.Popen(command) for _ in range(2)]
    assert [child.wait(timeout=30) for child in children] == [0, 0]
    assert len(repository.asked) == 2


@pytest.mark.parametrize("busy", [True, False], ids=["waiting for the lock", "fetching"])
def test_cancelling_ends_the_fetching(
    tmp_path: Path, repository: Repository, two: list[Jar], busy: bool
) -> None:
    (tmp_path / "kafka-jars").mkdir()
    other = FileLock(tmp_path / "kafka-jars" / ".lock")
    if busy:
        assert other.try_acquire()
    patience = Patience()
    patience.cancelled.set()
    with pytest.raises(JarError, match="cancelled"):
        ensure_jars(tmp_path, two, repository=repository.url, patience=patience)
    other.release()
    assert not repository.asked


def test_fetching_has_a_deadline(tmp_path: Path, repository: Repository, two: list[Jar]) -> None:
    with pytest.raises(JarError, match="longer than 0 s"):
        ensure_jars(tmp_path, two, repository=repository.url, patience=Patience(seconds=0))


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        pytest.param("/var/cache", "/var/cache/clipmill", id="absolute"),
        pytest.param("relative", "/home/u/.cache/clipmill", id="relative is ignored"),
        pytest.param("", "/home/u/.cache/clipmill", id="empty"),
        pytest.param(None, "/home/u/.cache/clipmill", id="unset"),
    ],
)
def test_the_cache_follows_xdg(
    monkeypatch: pytest.MonkeyPatch, configured: str | None, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if configured is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", configured)
    assert default_cache_dir() == Path(expected)
