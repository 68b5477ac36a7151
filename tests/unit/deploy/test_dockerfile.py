import json
import re
import shlex
import tomllib

import pytest

from streams.settings import setting_paths, variable_name
from tests.unit.deploy.composition import PROJECT

DOCKERFILE = PROJECT / "deploy" / "Dockerfile"
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """Return (name, argument) of every instruction, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    words = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, _, rest in words]


def stages() -> list[list[Instruction]]:
    found: list[list[Instruction]] = []
    for each in instructions():
        if each[0] == "FROM":
            found.append([])
        found[-1].append(each)
    return found


def arguments(name: str, of: list[Instruction]) -> list[str]:
    return [argument for each, argument in of if each == name]


BUILD, FINAL = stages()
SOURCES = [source for each in arguments("COPY", BUILD) for source in shlex.split(each)[:-1]]


def pinned(path: str) -> dict[str, int]:
    """Return how many hashes each pinned requirement of a file has."""
    text = (PROJECT / path).read_text()
    parts = re.split(r"^([A-Za-z0-9._-]+)==\S+", text, flags=re.MULTILINE)[1:]
    return {
        name: body.count("--hash=sha256:")
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


@pytest.mark.parametrize("source", SOURCES)
def test_copied_source_exists_and_is_not_ignored(source: str) -> None:
    assert (PROJECT / source).exists()
    ignored = (PROJECT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert f"!{source}" in ignored


def test_every_package_of_the_wheel_is_copied() -> None:
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    read = [PYPROJECT["project"]["readme"], *PYPROJECT["project"]["license-files"]]
    assert {*packages, *read, "pyproject.toml"} <= set(SOURCES)


def test_packages_come_from_the_lock_files_only() -> None:
    installs = [
        command.strip()
        for run in arguments("RUN", BUILD)
        for command in run.split("&&")
        if " install " in command
    ]
    files = [re.search(r"--requirement (\S+)", command) for command in installs]
    assert [found[1] if found else None for found in files] == [
        "requirements.txt",
        "requirements-build.txt",
        None,
    ]
    assert all("--require-hashes" in command for command in installs[:2])
    assert "--no-deps --no-index" in installs[2]


@pytest.mark.parametrize("path", ["requirements.txt", "deploy/requirements-build.txt"])
def test_every_locked_package_has_hashes(path: str) -> None:
    assert pinned(path)
    assert min(pinned(path).values()) >= 1


@pytest.mark.parametrize(
    ("requirements", "path"),
    [
        (PYPROJECT["project"]["dependencies"], "requirements.txt"),
        (PYPROJECT["build-system"]["requires"], "deploy/requirements-build.txt"),
    ],
    ids=["runtime", "build"],
)
def test_all_requirements_are_locked(requirements: list[str], path: str) -> None:
    names = {re.split(r"[<>=\[]", each)[0] for each in requirements}
    assert names <= pinned(path).keys()


def test_final_image_has_only_the_build_output() -> None:
    assert arguments("FROM", BUILD) == ["python:3.13 AS build"]
    assert arguments("FROM", FINAL) == ["python:3.13-slim"]
    assert arguments("COPY", FINAL) == ["--from=build /opt/clipmill /opt/clipmill"]
    assert not [run for run in arguments("RUN", FINAL) if "apt" in run or "pip" in run]


def test_container_runs_as_the_owner_of_the_data() -> None:
    names = [name for name, _ in FINAL]
    assert arguments("USER", FINAL) == ["clipmill"]
    assert names.index("USER") < names.index("ENTRYPOINT")
    (run,) = arguments("RUN", FINAL)
    assert "--owner clipmill" in run
    assert arguments("VOLUME", FINAL) == ["/data"]


def test_environment_variables_are_settings() -> None:
    pairs = [pair.split("=", 1) for each in arguments("ENV", FINAL) for pair in shlex.split(each)]
    known = {variable_name(path) for path, _ in setting_paths()}
    ours = {name: value for name, value in pairs if name.startswith("CLIPMILL_")}
    assert ours.keys() <= known
    assert ours["CLIPMILL_HTTP"] == "0.0.0.0:8080"
    assert arguments("EXPOSE", FINAL) == ["8080"]


def test_entrypoint_is_the_command_line() -> None:
    (entry,) = arguments("ENTRYPOINT", FINAL)
    assert json.loads(entry) == ["clipmill"]
    assert "clipmill" in PYPROJECT["project"]["scripts"]


def test_health_check_is_valid_python() -> None:
    (check,) = arguments("HEALTHCHECK", FINAL)
    program, option, code = json.loads(check.partition("CMD ")[2])
    assert (program, option) == ("python", "-c")
    compile(code, "healthcheck", "exec")
    assert "/health/live" in code
