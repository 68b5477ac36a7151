import platform
from pathlib import Path

import pytest

from agents.engine import javascript_support
from agents.engine.javascript_support import find_support, starts_in_sandbox

PATH = "/usr/bin:/bin"


@pytest.fixture(autouse=True)
def no_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test makes is found."""
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "scripts"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(javascript_support, "starts_in_sandbox", lambda _: True)


def add_program(folder: Path, name: str, text: str = "", status: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\nexit {status}\n")
    program.chmod(0o755)
    return program


def add_deno(folder: Path, version: str = "deno 2.9.8 (stable, release)") -> Path:
    return add_program(folder, "deno", f"echo '{version}'")


def add_package(folder: Path, module: str, version: str, *requires: str) -> None:
    (folder / module).mkdir(parents=True)
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    lines = [f"Name: {module.replace('_', '-')}", f"Version: {version}", "Metadata-Version: 2.4"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def add_yt_dlp(folder: Path, solver: str = "0.8.0") -> None:
    requires = ("brotli; extra == 'default'", f"yt-dlp-ejs=={solver}; extra == 'default'")
    add_package(folder, "yt_dlp", "2026.10.26", *requires)


def test_installed_deno_and_solver_are_found(tmp_path: Path) -> None:
    deno = add_deno(tmp_path / "scripts")
    add_package(tmp_path / "site", "yt_dlp_ejs", "0.8.0")
    add_yt_dlp(tmp_path / "site")
    found = find_support([str(tmp_path / "missing"), str(tmp_path / "site"), ""])
    assert found.is_available
    assert (found.deno, found.deno_version, found.solver_version) == (str(deno), "2.9.8", "0.8.0")
    assert found.summary == "run by Deno 2.9.8, with yt-dlp-ejs 0.8.0"


def test_nothing_installed_names_both_with_the_command(tmp_path: Path) -> None:
    found = find_support([str(tmp_path)])
    assert found.summary == (
        "not run: Deno is not installed, yt-dlp-ejs is not installed;"
        " pip install 'clipmill[youtube]'"
    )


def test_deno_of_the_first_folder_is_used_before_that_of_the_path(tmp_path: Path) -> None:
    add_deno(tmp_path / "path", "deno 2.4.0")
    assert find_support([]).deno_version == "2.4.0"
    add_deno(tmp_path / "packages" / "bin", "deno 2.5.0")
    assert find_support([str(tmp_path / "packages")]).deno_version == "2.5.0"


def test_solver_and_yt_dlp_of_the_first_folder_are_compared(tmp_path: Path) -> None:
    add_deno(tmp_path / "path")
    add_package(tmp_path / "site", "yt_dlp_ejs", "0.8.0")
    add_yt_dlp(tmp_path / "site")
    add_yt_dlp(tmp_path / "packages", "0.9.1")
    path = [str(tmp_path / "packages"), str(tmp_path / "site")]
    assert find_support(path).summary == (
        "not run: yt-dlp-ejs 0.8.0 is not that of this yt-dlp; pip install yt-dlp-ejs==0.9.1"
    )
    add_package(tmp_path / "packages", "yt_dlp_ejs", "0.9.3")
    assert find_support(path).is_available


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("deno 2.2.9", "Deno 2.2.9 is older than 2.3.0"),
        ("deno 1.46.3 (release)", "Deno 1.46.3 is older than 2.3.0"),
        ("something else", "does not start"),
        ("", "does not start"),
    ],
)
def test_unusable_deno_is_a_problem(tmp_path: Path, version: str, problem: str) -> None:
    add_deno(tmp_path / "path", version)
    assert problem in find_support([]).problems[0]


def test_deno_that_cannot_be_executed_is_a_problem(tmp_path: Path) -> None:
    add_deno(tmp_path / "path").write_bytes(b"\x7fELF")
    assert "does not start" in find_support([]).problems[0]


def test_deno_that_does_not_start_in_the_sandbox_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(javascript_support, "starts_in_sandbox", starts_in_sandbox)
    deno = add_deno(tmp_path / "path")
    add_package(tmp_path / "site", "yt_dlp_ejs", "0.8.0")
    found = find_support([str(tmp_path / "site")])
    assert found.problems == (f"{deno} does not start in its sandbox",)


def test_other_runtimes_are_named_and_not_used(tmp_path: Path) -> None:
    add_program(tmp_path / "path", "node", "echo v24.0.0")
    found = find_support([])
    assert found.others == ("node",)
    assert not found.is_available
    assert "(node cannot be used)" in found.summary


def test_machine_without_a_sandbox_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    add_deno(tmp_path / "path")
    assert "its sandbox does not support pdp11" in find_support([]).problems
