"""Every alert in promtool: the cases in which it fires and stays silent."""

import json
import re
import subprocess
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.watch.programs import program
from tests.unit.deploy.alert_cases import CASES, SLOW, AlertCase

FOLDER = Path(__file__).parents[3] / "deploy" / "prometheus"
RULES: dict[str, dict[str, Any]] = {
    rule.get("alert") or rule["record"]: rule
    for name in ("recording.yml", "alerts.yml")
    for group in yaml.safe_load((FOLDER / name).read_text())["groups"]
    for rule in group["rules"]
}
SEVERITIES: dict[str, str] = {
    name: rule["labels"]["severity"] for name, rule in RULES.items() if "alert" in rule
}


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    firing = Counter(case.alert for case in CASES if case.firing)
    silent = Counter(case.alert for case in CASES if not case.firing)
    assert firing.keys() == silent.keys() == SEVERITIES.keys()


def interval_of(alert: str) -> str:
    return "10m" if alert in SLOW else "1m"


def promtool_test(case: AlertCase) -> object:
    """Return a case in promtool's format; firing alerts are series of ``ALERTS``."""
    samples = [
        {
            "alertname": case.alert,
            "alertstate": "firing",
            "severity": SEVERITIES[case.alert],
            **labels,
        }
        for labels in case.firing
    ]
    return {
        "name": f"{case.alert}: {case.title}",
        "interval": interval_of(case.alert),
        "input_series": [
            {"series": name, "values": values} for name, values in case.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}',
                "eval_time": f"{case.minute}m",
                "exp_samples": [
                    {"labels": f"ALERTS{_selector(labels)}", "value": 1} for labels in samples
                ],
            }
        ],
    }


def _selector(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


BY_ALERT = {name: list(cases) for name, cases in groupby(CASES, key=lambda case: case.alert)}


def rules_of(alert: str) -> list[dict[str, Any]]:
    """Return an alert after the recording rules it uses: promtool evaluates all given rules."""
    needed = re.findall(r"clipmill:[a-z_]+:[a-z_0-9]+", RULES[alert]["expr"])
    return [RULES[name] for name in (*dict.fromkeys(needed), alert)]


@pytest.mark.parametrize("alert", BY_ALERT)
def test_alert_fires_in_its_cases_only(alert: str, tmp_path: Path) -> None:
    rules, cases = tmp_path / "rules.yml", tmp_path / "cases.yml"
    # JSON is YAML.
    rules.write_text(json.dumps({"groups": [{"name": alert, "rules": rules_of(alert)}]}))
    cases.write_text(
        json.dumps(
            {
                "rule_files": [str(rules)],
                "evaluation_interval": interval_of(alert),
                "tests": [promtool_test(case) for case in BY_ALERT[alert]],
            }
        )
    )
    done = subprocess.run(
        [program("promtool"), "test", "rules", cases],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
