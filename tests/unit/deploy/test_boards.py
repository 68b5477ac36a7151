"""The boards: current, well-formed, of metrics and labels that exist, in PromQL that is valid."""

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
from tests.unit.deploy.board_queries import boards, interpolated, panels, queries
from tests.unit.deploy.test_alerts import RECORDS, known, recorded, watched

BOARDS = boards()
# What Prometheus and the collectors of the client library add.
OTHER_LABELS = {"le", "instance", "job", "generation", "alertname", "alertstate", "severity"}

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))


def test_the_boards_of_the_project_are_current() -> None:
    assert CliRunner().invoke(main, ["--check"]).exit_code == 0, "run `python -m deploy.grafana`"


def test_a_board_that_is_outdated_or_left_over_is_named(
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


def test_boards_have_names_of_their_own() -> None:
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS) == 6
    assert all(board["uid"] == name for name, board in BOARDS.items())


@every_board
def test_panels_have_ids_titles_and_descriptions_of_their_own(board: dict[str, Any]) -> None:
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
    places = [panel["gridPos"] for panel in board["panels"]]
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or apart


@every_board
def test_queries_use_metrics_and_labels_that_exist(board: dict[str, Any]) -> None:
    process = {family.name for family in REGISTRY.collect()}
    for title, expr in queries(board):
        assert watched(expr) <= known().keys(), title
        assert recorded(expr) <= {each["record"] for each in RECORDS}
        foreign = re.findall(r"\b(?:process|python)_[a-z_]+", expr)
        assert {name.removesuffix("_total") for name in foreign} <= process
        if "ALERTS" in expr:
            continue
        labels = set().union(*(known()[name] for name in watched(expr))) | OTHER_LABELS
        grouped = re.findall(r"(?:by|on) \(([a-z_, ]+)\)", expr)
        picked = re.findall(r"([a-z_]+)[!=]~?\"", expr)
        assert {name for group in grouped for name in group.split(", ")} | set(picked) <= labels


@every_board
def test_legends_and_variables_name_labels_that_the_query_leaves(board: dict[str, Any]) -> None:
    for panel in panels(board):
        for target in panel["targets"]:
            shown = set(re.findall(r"{{([a-z_]+)}}", target["legendFormat"]))
            grouped = re.findall(r"by \(([a-z_, ]+)\)", target["expr"])
            left = {name for group in grouped for name in group.split(", ")}
            assert shown <= left or "by (" not in target["expr"], panel["title"]
    chosen = {each["name"] for each in board["templating"]["list"]}
    used = {name for _, expr in queries(board) for name in re.findall(r"\$([a-z]+)", expr) if name}
    assert used <= chosen


@every_board
def test_prometheus_can_read_every_query(board: dict[str, Any], tmp_path: Path) -> None:
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
