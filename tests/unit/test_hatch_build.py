import shutil
from pathlib import Path

import pytest

from agents.engine.proof_of_work import load_native
from hatch_build import SOURCE, compile_library

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which("cc")


def test_missing_compiler_is_the_returned_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler --flag")
    library = tmp_path / "a.so"
    assert compile_library(ROOT / SOURCE, library) == "there is no C compiler 'no-such-compiler'"
    assert not library.exists()


@pytest.mark.parametrize("compiler", ["false", "python3 -c 'raise SystemExit(1)'"])
def test_failing_compiler_leaves_no_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    reason = compile_library(ROOT / SOURCE, tmp_path / "a.so")
    assert reason is not None
    assert reason.startswith(compiler.split(maxsplit=1)[0])
    assert list(tmp_path.iterdir()) == []


def test_library_is_built_when_there_is_a_compiler(tmp_path: Path) -> None:
    library = tmp_path / "a.so"
    reason = compile_library(ROOT / SOURCE, library)
    assert (reason is None) == library.exists() == (COMPILER is not None)
    assert (load_native(library) is not None) == (COMPILER is not None)
    assert not list(tmp_path.glob("*.new"))
