"""Boards are current and well-formed, with existing metrics and labels and valid PromQL."""

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deploy.grafana.__main__ import FOLDER, main
from deploy.grafana.grafana_json import COLUMNS
from deploy.watch.programs import program
from streams.observability.metrics import REGISTRY
from streams.settings.console import ConsoleSettings
from tests.unit.deploy.board_queries import boards, interpolated, panels, queries
from tests.unit.deploy.test_alerts import RECORDS, records_in
from tests.unit.docs.metric_names import metric_labels, metrics_in
from tests.unit.streams.console.consoles import running_console

BOARDS = boards()
CONSOLE = "${console:raw}/"
LABEL = "${__field.labels.error_type}"
# Added by Prometheus and the collectors of the client library.
OTHER_LABELS = {"le", "instance", "job", "generation", "alertname", "alertstate", "severity"}

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))


def test_boards_of_the_project_are_current() -> None:
    assert CliRunner().invoke(main, ["--check"]).exit_code == 0, "run `python -m deploy.grafana`"


def test_outdated_and_leftover_boards_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.grafana.__main__.FOLDER", tmp_path)
    CliRunner().invoke(main)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FOLDER.iterdir()}
    (tmp_path / "clipmill-stages.json").write_text("{}")
    (tmp_path / "clipmill-old.json").write_text("{}")
    found = CliRunner().invoke(main, ["--check"])
    assert found.exit_code == 1
    assert "clipmill-old.json, clipmill-stages.json: outdated" in found.output
    CliRunner().invoke(main)
    assert CliRunner().invoke(main, ["--check"]).exit_code == 0


def test_board_names_are_unique() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 6
    assert all(board["uid"] == name for name, board in BOARDS.items())


@every_board
def test_panels_have_unique_ids_and_titles_and_a_description(board: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        assert panel["description"].endswith((".", "%.")), panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


@every_board
def test_panels_do_not_overlap_and_fit(board: dict[str, Any]) -> None:
    positions = [panel["gridPos"] for panel in board["panels"]]
    for position in positions:
        assert 0 <= position["x"] < position["x"] + position["w"] <= COLUMNS
    for one, other in itertools.combinations(positions, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or apart


@every_board
def test_queries_use_existing_metrics_and_labels(board: dict[str, Any]) -> None:
    process = {family.name for family in REGISTRY.collect()}
    for title, expr in queries(board):
        assert metrics_in(expr) <= metric_labels().keys(), title
        assert records_in(expr) <= {each["record"] for each in RECORDS}
        foreign = re.findall(r"\b(?:process|python)_[a-z_]+", expr)
        assert {name.removesuffix("_total") for name in foreign} <= process
        if "ALERTS" in expr:
            continue
        labels = set().union(*(metric_labels()[name] for name in metrics_in(expr))) | OTHER_LABELS
        grouped = re.findall(r"(?:by|on) \(([a-z_, ]+)\)", expr)
        selected = re.findall(r"([a-z_]+)[!=]~?\"", expr)
        assert {name for group in grouped for name in group.split(", ")} | set(selected) <= labels


@every_board
def test_legends_and_variables_use_labels_of_the_query(board: dict[str, Any]) -> None:
    for panel in panels(board):
        for target in panel["targets"]:
            shown = set(re.findall(r"{{([a-z_]+)}}", target["legendFormat"]))
            grouped = re.findall(r"by \(([a-z_, ]+)\)", target["expr"])
            remaining = {name for group in grouped for name in group.split(", ")}
            assert shown <= remaining or "by (" not in target["expr"], panel["title"]
    chosen = {each["name"] for each in board["templating"]["list"]}
    used = {name for _, expr in queries(board) for name in re.findall(r"\$([a-z]+)", expr) if name}
    assert used <= chosen


@every_board
def test_queries_are_valid_promql(board: dict[str, Any], tmp_path: Path) -> None:
    rules = [
        {"record": f"q:{number}", "expr": interpolated(expr)}
        for number, (_, expr) in enumerate(queries(board))
    ]
    file = tmp_path / "rules.yml"
    # JSON is YAML.
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        [program("promtool"), "check", "rules", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_on_a_board() -> None:
    shown = {
        name for each in BOARDS.values() for _, expr in queries(each) for name in metrics_in(expr)
    }
    assert metric_labels().keys() - shown == set()


def console_links(board: dict[str, Any]) -> set[str]:
    """Return the targets of all links to the console, relative to its base URL."""
    return {
        link["url"].removeprefix(CONSOLE)
        for holder in (
            board,
            *panels(board),
            *(each["fieldConfig"]["defaults"] for each in panels(board)),
        )
        for link in holder.get("links", [])
        if link["url"].startswith(CONSOLE)
    }


async def test_links_lead_to_pages_of_the_console(tmp_path: Path) -> None:
    targets = sorted({target for board in BOARDS.values() for target in console_links(board)})
    assert {"overview", "failures", "deadletters", "breakers", "pipeline", "?state=parked"} <= {
        *targets
    }
    async with running_console(tmp_path) as console:
        for target in targets:
            path, _, fragment = target.replace(LABEL, "content.not_found").partition("#")
            answer = await console.get(f"/{path}")
            text = await answer.text()
            assert answer.status == 200, target
            assert f'id="{fragment}"' in text or not fragment, target


@every_board
def test_links_use_variables_that_exist(board: dict[str, Any]) -> None:
    urls = re.findall(r'"url": "([^"]+)"', json.dumps(board))
    used = {name for url in urls for name in re.findall(r"\${(\w+)(?::raw)?}", url)}
    assert used == {"console", "runbooks"}
    fields = {
        frozenset(each) for holder in (board, *panels(board)) for each in holder.get("links", [])
    }
    assert len(fields) == 1, "Grafana's decoder requires every field of each link"
    defaults = {each["name"]: each["query"] for each in board["templating"]["list"]}
    assert defaults["console"] == f"http://{ConsoleSettings().http}"
