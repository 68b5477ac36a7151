"""Links, anchors and fenced blocks of all Markdown files of the project."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from docs.generate.cli import commands
from streams.cli import cli
from streams.settings import load_settings, setting_paths, variable_name
from tests.unit.docs.command_lines import check, in_backticks, lines_of
from tests.unit.docs.markdown_pages import (
    DOCS,
    PROJECT,
    Block,
    anchors,
    every_block,
    every_document,
    every_page,
    file_links,
    inline_codes,
    languages,
    links,
    named,
)
from tests.unit.docs.metric_names import metric_labels, metrics_in

REFERENCE = DOCS / "reference"
ABBREVIATED = "…"


def variables_in(text: str) -> set[str]:
    return set(re.findall(r"CLIPMILL_[A-Z_]*[A-Z]", text))


@every_document
def test_link_leads_to_a_file_and_an_existing_anchor(file: Path) -> None:
    for link in links(file.read_text()):
        if "://" in link or link.startswith("mailto:"):
            continue
        target, _, anchor = link.partition("#")
        found = file.parent / target if target else file
        assert found.exists(), link
        assert PROJECT in found.resolve().parents, link
        assert not anchor or anchor in anchors(found.read_text()), link


@every_document
def test_link_with_the_name_of_a_file_leads_to_that_file(file: Path) -> None:
    for text, target in file_links(file.read_text()):
        assert Path(target).parts[-len(Path(text).parts) :] == Path(text).parts


@every_block("sh")
def test_shell_block_uses_existing_commands_and_options(block: Block) -> None:
    for words in lines_of(block.text):
        check(words)


@every_document
def test_command_in_backticks_exists(file: Path) -> None:
    for code in inline_codes(file.read_text()):
        if (words := in_backticks(code)) is not None:
            check(words)


@pytest.mark.parametrize(
    "line",
    [
        "clipmill submti URL",
        "clipmill submit URL --qualty 720p",
        "clipmill submit https://example.com --quality 720",
        "make tests",
        "python -m tests.standins",
    ],
)
def test_unknown_command_option_value_target_or_module_is_found(line: str) -> None:
    (words,) = lines_of(line)
    with pytest.raises((click.UsageError, LookupError)):
        check(words)


def test_shell_block_is_split_at_pipes_line_ends_and_comments() -> None:
    script = "A=1 one \\\n  two | three 'a | b'   # four\nexport B=2\n"
    assert lines_of(script) == [["one", "two"], ["three", "a | b"], ["export", "B=2"]]


@every_block("python")
def test_python_block_compiles_and_its_imports_exist(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert not [each.name for each in node.names if not hasattr(module, each.name)]
    # The reference shows parts of source files, without their imports.
    if REFERENCE not in block.file.parents:
        exec(compile(tree, named(block.file), "exec"), {"__name__": "example"})


@every_block("json")
def test_json_block_parses_or_is_abbreviated(block: Block) -> None:
    try:
        json.loads(block.text)
    except ValueError:
        assert ABBREVIATED in block.text


@every_block("yaml")
def test_yaml_block_parses(block: Block) -> None:
    assert yaml.safe_load(block.text)


@every_block("toml")
def test_toml_block_parses_and_settings_load(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "project" in tomllib.loads(block.text):
        return
    file = tmp_path / "clipmill.toml"
    file.write_text(block.text)
    monkeypatch.setenv("CLIPMILL_CONFIG", str(file))
    # Secrets, of which an example names only the variable.
    for name in variables_in(block.text):
        monkeypatch.setenv(name, "example")
    assert load_settings()


def test_languages_of_blocks_are_checked_or_shown_only() -> None:
    checked = {"sh", "python", "json", "yaml", "toml"}
    shown = {"", "text", "promql"}
    assert checked <= languages() <= checked | shown


@every_document
def test_environment_variable_is_a_setting(file: Path) -> None:
    known = {variable_name(path) for path, _ in setting_paths()} | {"CLIPMILL_CONFIG"}
    assert variables_in(file.read_text()) <= known


@every_page
def test_metric_exists(file: Path) -> None:
    assert metrics_in(file.read_text()) <= metric_labels().keys()


def test_help_of_every_command_is_printed() -> None:
    for path, command in commands():
        context = click.Context(command, info_name=path, **cli.context_settings)
        assert command.get_help(context).startswith(f"Usage: {path}")


def test_installed_program_prints_its_help() -> None:
    program = Path(sys.executable).with_name("clipmill")
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: clipmill")
