"""The alerts watch metrics that exist, by labels that they have, and say what to do."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.metrics import MetricWrapperBase

from streams import metrics
from streams.cli import cli

FILE = Path(__file__).parents[3] / "deploy" / "alerts.yml"
ALERTS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text())["groups"][0]["rules"]
SUFFIX = re.compile(r"_(total|bucket|sum|count)$")

every_alert = pytest.mark.parametrize("alert", ALERTS, ids=[each["alert"] for each in ALERTS])


def known() -> dict[str, set[str]]:
    """Names of our metrics without suffix, each with its labels."""
    families = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    return {SUFFIX.sub("", each._name): set(each._labelnames) for each in families}


def watched(alert: dict[str, Any]) -> set[str]:
    return {SUFFIX.sub("", name) for name in re.findall(r"clipmill_[a-z_]+", alert["expr"])}


@every_alert
def test_what_is_watched_exists(alert: dict[str, Any]) -> None:
    assert watched(alert)
    assert watched(alert) <= known().keys()


@every_alert
def test_labels_are_those_of_the_metrics(alert: dict[str, Any]) -> None:
    # Prometheus itself adds the instance.
    labels = set().union(*(known()[name] for name in watched(alert))) | {"le", "instance"}
    grouped = re.findall(r"(?:by|on) \(([a-z_, ]+)\)", alert["expr"])
    picked = re.findall(r"([a-z_]+)=~?\"", alert["expr"])
    assert {name for group in grouped for name in group.split(", ")} | set(picked) <= labels
    shown = re.findall(r"\$labels\.([a-z_]+)", alert["annotations"]["summary"])
    assert set(shown) <= {name for group in grouped for name in group.split(", ")}


@every_alert
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["alert"].startswith("Clipmill")
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert alert["annotations"]["description"].endswith(".")


@every_alert
def test_commands_that_an_alert_names_exist(alert: dict[str, Any]) -> None:
    for command in re.findall(r"`clipmill ([a-z ]+)`", alert["annotations"]["description"]):
        found = CliRunner().invoke(cli, [*command.split(), "--help"])
        assert found.exit_code == 0, found.output
