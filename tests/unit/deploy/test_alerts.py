"""Rules use existing metrics and labels, and every alert has a runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.docs.command_lines import check, in_backticks
from tests.unit.docs.metric_names import metric_labels, metrics_in

PROJECT = Path(__file__).parents[3]
RUNBOOKS = PROJECT / "docs" / "runbooks"
HEADINGS = [
    "Impact",
    "Diagnosis",
    "Remedy",
    "Resolved when",
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
def test_records_of_a_runbook_exist(page: Path) -> None:
    assert records_in(page.read_text()) <= {each["record"] for each in RECORDS}


@every_alert
def test_commands_of_a_description_exist(alert: dict[str, Any]) -> None:
    for code in re.findall(r"`([^`]+)`", alert["annotations"]["description"]):
        if (words := in_backticks(code)) is not None:
            check(words)
