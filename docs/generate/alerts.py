"""Page of the Prometheus alerts: severity, meaning, runbook."""

import re
from typing import Any

import yaml

from docs.generate.markdown import PROJECT, code, head, page, table

RULES = PROJECT / "deploy" / "prometheus" / "alerts.yml"


def page_of_alerts() -> str:
    """Return the page."""
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    introduction = (
        "All alerts of [`alerts.yml`](../../deploy/prometheus/alerts.yml). Each name links to its "
        "runbook: impact, diagnosis, remedy, and the condition under which it is resolved. Setup "
        "and notifications: [monitoring](../monitoring.md)."
    )
    return page(
        head("Alerts and runbooks", introduction),
        *(_section(group["name"].removeprefix("clipmill "), group["rules"]) for group in groups),
    )


def _section(name: str, rules: list[dict[str, Any]]) -> str:
    rows = [
        (
            f"[{rule['alert']}](../runbooks/{rule['alert']}.md)",
            rule["labels"]["severity"],
            rule.get("for", ""),
            _plain(rule["annotations"]["description"]),
        )
        for rule in rules
    ]
    columns = ("alert", "severity", "for", "meaning")
    return f"## {name[0].upper()}{name[1:]}\n\n{table(columns, rows)}"


def _plain(description: str) -> str:
    """Replace the templates of Prometheus by the names of their labels."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: code(found[1]), description)
