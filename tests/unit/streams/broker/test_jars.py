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
from streams.broker.jars import default_cache_dir, ensure_jars
from streams.broker.pinning import FetchDeadline, Jar, JarError
from streams.file_lock import FileLock


class Repository(ThreadingHTTPServer):
    """Maven repository on loopback with configured files and failures; records requested paths."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.failures: dict[str, list[int]] = {}
        self.requested: list[str] = []

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
        self.server.requested.append(self.path)
        failures = self.server.failures.get(self.path)
        content = self.server.files.get(self.path, b"")
        self.send_response(failures.pop(0) if failures else 200 if content else 404)
        # Without a content length the end of the connection is the end of the file.
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
def two_jars(repository: Repository) -> list[Jar]:
    return [repository.publish("a.jar", b"alpha" * 50_000), repository.publish("b.jar", b"beta")]


def partial_files(cache: Path) -> list[str]:
    return [path.name for path in (cache / "kafka-jars").glob("*.part")]


def test_missing_jars_are_downloaded_once(
    tmp_path: Path, repository: Repository, two_jars: list[Jar]
) -> None:
    paths = ensure_jars(tmp_path, two_jars, repository=repository.url)
    assert [path.read_bytes() for path in paths] == [b"alpha" * 50_000, b"beta"]
    assert ensure_jars(tmp_path, two_jars, repository=repository.url) == paths
    assert len(repository.requested) == 2
    assert not partial_files(tmp_path)


def test_a_complete_cache_needs_no_network(
    tmp_path: Path, repository: Repository, two_jars: list[Jar]
) -> None:
    paths = ensure_jars(tmp_path, two_jars, repository=repository.url)
    assert ensure_jars(tmp_path, two_jars, repository="http://127.0.0.1:1") == paths


def test_only_missing_jars_are_downloaded(
    tmp_path: Path, repository: Repository, two_jars: list[Jar]
) -> None:
    paths = ensure_jars(tmp_path, two_jars, repository=repository.url)
    paths[1].unlink()
    repository.requested.clear()
    ensure_jars(tmp_path, two_jars, repository=repository.url)
    assert repository.requested == ["/maven2/org/example/b.jar"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"", id="emptied"),
        pytest.param(b"bet", id="cut short"),
        pytest.param(b"BETA", id="same length"),
        pytest.param(b"beta and more", id="longer"),
    ],
)
def test_corrupt_cached_jar_is_rejected_by_name(
    tmp_path: Path, repository: Repository, two_jars: list[Jar], damage: bytes
) -> None:
    path = ensure_jars(tmp_path, two_jars, repository=repository.url)[1]
    path.write_bytes(damage)
    with pytest.raises(JarError, match=r"b\.jar is not the file .* Delete it"):
        ensure_jars(tmp_path, two_jars, repository=repository.url)
    assert path.read_bytes() == damage


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"bet", id="cut short"),
        pytest.param(b"BETA", id="same length"),
        pytest.param(b"beta" * 100_000, id="longer"),
    ],
)
def test_download_that_does_not_match_the_pin_is_rejected_and_discarded(
    tmp_path: Path, repository: Repository, two_jars: list[Jar], sent: bytes
) -> None:
    repository.files["/maven2/org/example/b.jar"] = sent
    with pytest.raises(JarError, match=r"/b\.jar sent another"):
        ensure_jars(tmp_path, two_jars, repository=repository.url)
    assert not (tmp_path / "kafka-jars" / "b.jar").exists()
    assert not partial_files(tmp_path)


def test_error_for_a_missing_jar_names_its_url(tmp_path: Path, repository: Repository) -> None:
    jar = Jar(PurePosixPath("org/example/c.jar"), 1, "0" * 64)
    with pytest.raises(JarError, match=r"cannot download .*/maven2/org/example/c\.jar.*404"):
        ensure_jars(tmp_path, [jar], repository=repository.url)


def test_error_without_network_names_the_remedy(
    tmp_path: Path, two_jars: list[Jar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jar_download, "_RETRY", Retry(total=0))
    with pytest.raises(JarError, match="copy the folder of a machine that has the jars"):
        ensure_jars(tmp_path, two_jars, repository="http://127.0.0.1:1")


def test_download_is_retried_after_503(
    tmp_path: Path, repository: Repository, two_jars: list[Jar]
) -> None:
    repository.failures["/maven2/org/example/b.jar"] = [503]
    ensure_jars(tmp_path, two_jars, repository=repository.url)
    assert repository.requested.count("/maven2/org/example/b.jar") == 2


def test_partial_files_of_a_killed_process_are_removed(
    tmp_path: Path, repository: Repository, two_jars: list[Jar]
) -> None:
    folder = tmp_path / "kafka-jars"
    folder.mkdir()
    (folder / "b.jarx1.part").write_bytes(b"be")
    ensure_jars(tmp_path, two_jars, repository=repository.url)
    assert not partial_files(tmp_path)


def test_concurrent_processes_download_each_jar_once(
    tmp_path: Path, repository: Repository, two_jars: list[Jar]
) -> None:
    program = (
        "import sys; from pathlib import Path; from streams.broker.jars import ensure_jars;"
        "from streams.broker.pinning import parse_lock;"
        "ensure_jars(Path(sys.argv[1]), parse_lock(sys.argv[2]), repository=sys.argv[3])"
    )
    lock = "\n".join(f"{jar.sha256} {jar.size} {jar.path}" for jar in two_jars)
    command = [sys.executable, "-c", program, str(tmp_path), lock, repository.url]
    children = [subprocess.Popen(command) for _ in range(2)]
    assert [child.wait(timeout=30) for child in children] == [0, 0]
    assert len(repository.requested) == 2


@pytest.mark.parametrize("busy", [True, False], ids=["waiting for the lock", "downloading"])
def test_cancellation_ends_the_download(
    tmp_path: Path, repository: Repository, two_jars: list[Jar], busy: bool
) -> None:
    (tmp_path / "kafka-jars").mkdir()
    other = FileLock(tmp_path / "kafka-jars" / ".lock")
    if busy:
        assert other.try_acquire()
    deadline = FetchDeadline()
    deadline.cancelled.set()
    with pytest.raises(JarError, match="cancelled"):
        ensure_jars(tmp_path, two_jars, repository=repository.url, deadline=deadline)
    other.release()
    assert not repository.requested


def test_download_past_its_deadline_fails(
    tmp_path: Path, repository: Repository, two_jars: list[Jar]
) -> None:
    with pytest.raises(JarError, match="longer than 0 s"):
        ensure_jars(
            tmp_path, two_jars, repository=repository.url, deadline=FetchDeadline(seconds=0)
        )


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        pytest.param("/var/cache", "/var/cache/clipmill", id="absolute"),
        pytest.param("relative", "/home/u/.cache/clipmill", id="relative is ignored"),
        pytest.param("", "/home/u/.cache/clipmill", id="empty"),
        pytest.param(None, "/home/u/.cache/clipmill", id="unset"),
    ],
)
def test_cache_dir_follows_xdg(
    monkeypatch: pytest.MonkeyPatch, configured: str | None, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if configured is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", configured)
    assert default_cache_dir() == Path(expected)
