"""Reference pages: nothing of the code is missing, and outdated pages are found."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from prometheus_client.metrics import MetricWrapperBase

from docs.generate import __main__ as generator
from docs.generate.cli import commands
from docs.generate.entry_points import INTERFACES
from schemas.errors import ErrorCode
from streams.observability import metrics
from streams.settings import setting_paths, variable_name
from streams.topics import TOPICS
from tests.unit.docs.markdown_pages import PROJECT

PAGES = generator.pages()


def test_every_setting_has_its_row() -> None:
    text = PAGES["settings.md"]
    for path, description in setting_paths():
        assert f"| `{'.'.join(path)}` | `{variable_name(path)}` |" in text
        assert description.replace("|", "\\|") in text


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("| integer > 0 | `4` | Partitions of topics", id="bound"),
        pytest.param("| number > 0 ≤ 1 | `0.5` | Share of failed", id="two-bounds"),
        pytest.param('| `console`, `json` | `"console"` |', id="choice"),
        pytest.param("| secret |  | Login password.", id="secret"),
        pytest.param('| path | `"data"` |', id="path"),
        pytest.param("| integer > 0 |  | Worker processes of", id="default-of-the-machine"),
    ],
)
def test_type_and_default_of_a_setting_are_stated(row: str) -> None:
    assert row in PAGES["settings.md"]


def test_every_metric_has_its_row_under_the_name_as_scraped() -> None:
    text = PAGES["metrics.md"]
    families = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    assert text.count("\n| `clipmill_") == len(families)
    assert "| `clipmill_stage_records_in_total` | counter | `stage` |" in text
    assert "| `clipmill_stage_duration_seconds` | histogram | `stage` |" in text


def test_every_error_code_and_topic_has_its_section() -> None:
    for code in ErrorCode:
        assert f"\n## {code}\n" in PAGES["errors.md"]
    for topic in TOPICS:
        assert f"\n## {topic.kafka_name()}\n" in PAGES["topics.md"]


def test_section_of_an_error_states_its_retry_policy() -> None:
    _, _, section = PAGES["errors.md"].partition("## rate_limit.ip_block\n")
    section, _, _ = section.partition("\n## ")
    assert "| at once | `other_egress`, at most 5 in one step |" in section
    assert "| retries after | 10 min, 1 h |" in section
    assert "`breaker.suspicious_videos` different videos open it early" in section


def test_every_command_has_its_section_with_all_options() -> None:
    for path, command in commands():
        _, _, section = PAGES["cli.md"].partition(f"\n## {path}\n")
        section, _, _ = section.partition("\n## ")
        options = [each for each in command.params if isinstance(each, click.Option)]
        assert all(each.opts[0] in section for each in options)


def test_every_entry_point_group_has_its_section() -> None:
    used = {
        line.partition("=")[2].strip().strip('"')
        for folder in ("agents", "streams")
        for file in (PROJECT / folder).rglob("*.py")
        for line in file.read_text().splitlines()
        if line.startswith("GROUP = ")
    }
    assert {each.group for each in INTERFACES} == used


def test_outdated_page_fails_the_check_and_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "DOCS", tmp_path)
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "removed.md").write_text("# Removed\n")
    check = CliRunner().invoke(generator.main, ["--check"])
    assert check.exit_code == 1
    assert "openapi.json, alerts.md" in check.output
    assert CliRunner().invoke(generator.main).exit_code == 0
    assert {each.name for each in folder.iterdir()} == PAGES.keys()
    assert "/requests" in json.loads((tmp_path / "openapi.json").read_text())["paths"]
    assert CliRunner().invoke(generator.main, ["--check"]).exit_code == 0
