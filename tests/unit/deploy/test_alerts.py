"""Rules use existing metrics and labels, and every alert has a runbook."""

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from streams.cli import cli
from streams.observability import metrics

PROJECT = Path(__file__).parents[3]
RUNBOOKS = PROJECT / "docs" / "runbooks"
SUFFIX = re.compile(r"_(total|bucket|sum|count)$")
HEADINGS = [
    "What users notice",
    "Find the cause",
    "Remedy",
    "It is over when",
]


def rules(file: str) -> list[dict[str, Any]]:
    document = yaml.safe_load((PROJECT / "deploy" / "prometheus" / file).read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


ALERTS, RECORDS = rules("alerts.yml"), rules("recording.yml")
PAGES = sorted(RUNBOOKS.glob("*.md"))

every_alert = pytest.mark.parametrize("alert", ALERTS, ids=[each["alert"] for each in ALERTS])
every_rule = pytest.mark.parametrize(
    "rule", ALERTS + RECORDS, ids=[each.get("alert") or each["record"] for each in ALERTS + RECORDS]
)
every_page = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])


def metric_labels() -> dict[str, set[str]]:
    """Return the labels of our metrics, by name without suffix."""
    families = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    return {SUFFIX.sub("", each._name): set(each._labelnames) for each in families}


def metrics_in(text: str) -> set[str]:
    return {SUFFIX.sub("", name) for name in re.findall(r"clipmill_[a-z_]+", text)}


def records_in(text: str) -> set[str]:
    return set(re.findall(r"clipmill:[a-z_]+:[a-z_0-9]+", text))


@every_rule
def test_metrics_of_a_rule_exist(rule: dict[str, Any]) -> None:
    expression = rule["expr"]
    assert metrics_in(expression) or records_in(expression) or expression.startswith("up{")
    assert metrics_in(expression) <= metric_labels().keys()
    assert records_in(expression) <= {each["record"] for each in RECORDS}


@every_rule
def test_labels_of_a_rule_exist(rule: dict[str, Any]) -> None:
    # Prometheus adds the instance and the job.
    labels = set().union(*(metric_labels()[name] for name in metrics_in(rule["expr"])))
    labels |= {"le", "instance", "job"}
    grouped = {
        name
        for group in re.findall(r"(?:by|on) \(([a-z_, ]+)\)", rule["expr"])
        for name in group.split(", ")
    }
    selected = set(re.findall(r"([a-z_]+)[!=]~?\"", rule["expr"]))
    assert grouped | selected <= labels
    shown = set(re.findall(r"\$labels\.([a-z_]+)", str(rule.get("annotations"))))
    assert shown <= grouped or rule["expr"].startswith("up{")


@every_alert
def test_alert_has_severity_description_and_runbook(
    alert: dict[str, Any],
) -> None:
    assert alert["alert"].startswith("Clipmill")
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert alert["annotations"]["description"].endswith(".")
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{alert['alert']}.md"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert [page.stem for page in PAGES] == sorted(each["alert"] for each in ALERTS)


@every_page
def test_runbook_has_all_sections(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    assert parts[1::2] == HEADINGS
    assert all(part.strip() for part in parts[2::2])


@every_page
def test_metrics_of_a_runbook_exist(page: Path) -> None:
    text = page.read_text()
    assert metrics_in(text) <= metric_labels().keys()
    assert records_in(text) <= {each["record"] for each in RECORDS}


def commands(text: str) -> list[str]:
    """Return the commands of clipmill in a text: in backticks, or on lines of their own."""
    return re.findall(r"(?:`|^\s*)clipmill ([^`#\n]+)", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    sorted(
        {
            command.strip()
            for text in [
                *(page.read_text() for page in PAGES),
                *(each["annotations"]["description"] for each in ALERTS),
            ]
            for command in commands(text)
        }
    ),
)
def test_commands_of_runbooks_and_alerts_are_valid(command: str) -> None:
    words = shlex.split(command)
    found: click.Command = cli
    while isinstance(found, click.Group) and words:
        named = found.get_command(click.Context(found), words.pop(0))
        assert named, command
        found = named
    found.make_context("clipmill", words)


@every_page
def test_links_of_a_runbook_resolve(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", page.read_text()):
        file = page.parent / target
        assert file.is_file(), target
        headings = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
        assert not anchor or anchor in anchors, anchor
