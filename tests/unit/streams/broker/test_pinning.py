import hashlib
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import jgo
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.broker import pinning
from streams.broker.pinning import ENDPOINT, Jar, LockError, parse_lock, pinned_jars, render_lock

HASH = "a" * 64
VALID_LINE = f"{HASH} 12 org/x/x/1.0/x-1.0.jar"

jars = st.builds(
    Jar,
    path=st.from_regex(r"[a-z]{1,8}/[a-z]{1,8}-[0-9]\.jar", fullmatch=True).map(PurePosixPath),
    size=st.integers(1, 999_999_999),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
)


@given(st.lists(jars, min_size=1, unique_by=lambda jar: jar.name))
def test_rendered_lock_round_trips(pinned: list[Jar]) -> None:
    assert set(parse_lock(render_lock(pinned))) == set(pinned)


def test_rendered_lines_are_sorted_by_path() -> None:
    first, second = Jar(PurePosixPath("a/a.jar"), 1, HASH), Jar(PurePosixPath("b/b.jar"), 1, HASH)
    assert render_lock([second, first]) == render_lock([first, second])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(VALID_LINE + "\n\n" + VALID_LINE, id="blank line"),
        pytest.param(
            VALID_LINE + "\n" + VALID_LINE.replace("org/x", "com/x"), id="same file name twice"
        ),
        pytest.param(VALID_LINE.replace("a" * 64, "A" * 64), id="hash in capitals"),
        pytest.param(VALID_LINE.replace("a" * 64, "a" * 63), id="short hash"),
        pytest.param(VALID_LINE.replace(" 12 ", " 0 "), id="no bytes"),
        pytest.param(VALID_LINE.replace(" 12 ", " 9999999999 "), id="too many bytes"),
        pytest.param(VALID_LINE.replace("org/", "../"), id="path upwards"),
        pytest.param(VALID_LINE.replace("org/", "/org/"), id="absolute path"),
        pytest.param(VALID_LINE.replace("x-1.0.jar", "x-1.0.exe"), id="not a jar"),
        pytest.param(VALID_LINE.replace("x-1.0.jar", "x:1.0.jar"), id="colon"),
        pytest.param(f"{HASH} 12 x.jar", id="no folder"),
        pytest.param(VALID_LINE + " more", id="fourth column"),
    ],
)
def test_malformed_lock_is_rejected(text: str) -> None:
    with pytest.raises(LockError):
        parse_lock(text)


def test_lock_error_names_the_line() -> None:
    with pytest.raises(LockError, match=r"line 2 .*'nonsense'"):
        parse_lock(VALID_LINE + "\nnonsense")


def test_pinned_jars_include_the_releases_of_the_endpoint() -> None:
    names = {jar.name for jar in pinned_jars()}
    wanted = [coordinate.split(":") for coordinate in ENDPOINT.split("+")]
    assert {f"{artifact}-{version}.jar" for _, artifact, version in wanted} <= names


def test_slf4j_api_release_matches_the_binding() -> None:
    names = {jar.name for jar in pinned_jars()}
    assert [n for n in names if n.startswith("slf4j-api")] == ["slf4j-api-1.7.36.jar"]


def test_resolved_environment_is_pinned_with_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = tmp_path / "x_2.13-1.0.jar"
    jar.write_bytes(b"jar")
    digest = hashlib.sha256(b"jar").hexdigest()
    (tmp_path / "jgo.lock.toml").write_text(
        "[[dependencies]]\ngroupId = 'org.example'\nartifactId = 'x_2.13'\n"
        f"version = '1.0'\nsha256 = '{digest}'\n"
    )
    requested: list[str] = []

    def build(endpoint: str, **_options: object) -> SimpleNamespace:
        requested.append(endpoint)
        return SimpleNamespace(path=tmp_path, all_jars=[jar])

    monkeypatch.setattr(jgo, "build", build)
    assert pinning.resolve("org.example:x_2.13:1.0", tmp_path) == (
        Jar(PurePosixPath("org/example/x_2.13/1.0/x_2.13-1.0.jar"), 3, digest),
    )
    assert requested == ["org.example:x_2.13:1.0"]


def test_main_prints_a_readable_lock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pinning, "resolve", lambda *_: pinned_jars())
    pinning.main()
    assert parse_lock(capsys.readouterr().out) == pinned_jars()
