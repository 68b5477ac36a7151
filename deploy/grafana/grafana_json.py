"""Boards in Grafana's format, panels in lines of 24 columns."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploy.grafana.model import Board, Panel, Query, Row, Variable
from deploy.grafana.panel_options import OPTIONS
from deploy.grafana.panels import console_url
from streams.observability.metrics import REGISTRY
from streams.settings.console import ConsoleSettings

SCHEMA_VERSION = 41
"""Of Grafana 11.6; later versions migrate it when they load a board."""

COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "clipmill"

PLACES = {
    "runbooks": ("Runbooks", "docs/runbooks", "Where docs/runbooks of this version can be read."),
    "console": (
        "Console",
        f"http://{ConsoleSettings().http}",
        "Where the browser reaches `clipmill console`.",
    ),
}
"""Text boxes with base URLs: label, default, description."""

ANNOTATION_SECONDS = 60
"""Step of the annotations; their queries find what happened within this time."""

ANNOTATIONS = {
    "Breaker changes": (
        "max by (platform, operation, egress) (changes(clipmill_breaker_state[1m])) > 0",
        "orange",
        "{{platform}} {{operation}} {{egress}}",
    ),
    "Deploys": (
        "sum by (version) (clipmill_build_info unless on (version) clipmill_build_info offset 1m)",
        "purple",
        "version {{version}}",
    ),
    "Starts": (
        'process_start_time_seconds{job="clipmill"} > time() - 60',
        "blue",
        "{{instance}}",
    ),
    "Alerts": (
        'ALERTS{alertname=~"Clipmill.+",alertstate="firing"}',
        "red",
        "{{alertname}}",
    ),
}


def as_json(board: Board) -> dict[str, Any]:
    """Return a board as Grafana imports it."""
    help_texts = {family.name: family.documentation for family in REGISTRY.collect()}
    return {
        "uid": f"clipmill-{board.name}",
        "title": f"clipmill / {board.title}",
        "description": board.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": _links(),
        "annotations": {"list": [_annotation(name, *each) for name, each in ANNOTATIONS.items()]},
        "templating": {
            "list": [
                _datasource(),
                *map(_variable, board.variables),
                *(_place(name, *each) for name, each in PLACES.items()),
            ]
        },
        "panels": list(_panels(board.rows, help_texts)),
    }


def _links() -> list[dict[str, Any]]:
    boards = {"type": "dashboards", "tags": [TAG], "includeVars": True, "keepTime": True}
    return [
        _link("clipmill", "") | boards,
        _link("Console", console_url("overview")),
        _link("Runbooks", "${runbooks:raw}"),
    ]


def _link(title: str, url: str) -> dict[str, Any]:
    return {
        "type": "link",
        "title": title,
        "url": url,
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "targetBlank": bool(url),
        "icon": "external link",
        "tooltip": "",
    }


def _annotation(name: str, expr: str, color: str, title: str) -> dict[str, Any]:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": color,
        "expr": expr,
        "step": f"{ANNOTATION_SECONDS}s",
        "titleFormat": title,
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }


def _place(name: str, label: str, default: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "textbox",
        "query": default,
        "current": {"text": default, "value": default},
    }


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.name})"
    return {
        "name": variable.name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": variable.name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels(rows: Sequence[Row], help_texts: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    number = top = 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False} | {
            "gridPos": place,
            "panels": [],
        }
        top += 1
        left = height = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                left, top, height = 0, top + height, 0
            number += 1
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield _panel(number, panel, place, help_texts)
            left, height = left + panel.width, max(height, panel.height)
        top += height


def _panel(
    number: int, panel: Panel, place: dict[str, int], help_texts: Mapping[str, str]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description or help_text(panel.queries[0].expr, help_texts),
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [_target(at, query, panel.kind) for at, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": OPTIONS[panel.kind],
    }
    if panel.page:
        found["links"] = [_link("Console", console_url(panel.page))]
    if panel.kind == "table":
        hidden = dict.fromkeys(("Time", "Value", "__name__", "instance", "job"), True)
        found["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return found


def help_text(expr: str, help_texts: Mapping[str, str]) -> str:
    """Return the help text of the first metric of a query."""
    for name in re.findall(r"(?:clipmill|process|python)_[a-z_]+", expr):
        for found in (name, re.sub(r"_(total|bucket|sum|count)$", "", name)):
            if found in help_texts:
                return help_texts[found]
    return ""


def _target(at: int, query: Query, kind: str) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + at),
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": kind in {"stat", "table"},
        "range": kind not in {"stat", "table"},
        "format": kind if kind in {"table", "heatmap"} else "time_series",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"value": None, "color": "green"}]
    for value, color in ((panel.warn, "orange"), (panel.alarm, "red")):
        if value is not None:
            steps.append({"value": value, "color": color})
    found: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "custom": _custom(panel),
    }
    if panel.unit != "dateTimeAsIso" and panel.kind == "timeseries":
        found["min"] = 0
    if panel.maximum is not None:
        found["max"] = panel.maximum
    if panel.states:
        options = {
            str(value): {"text": state.text, "color": state.color, "index": at}
            for at, (value, state) in enumerate(panel.states.items())
        }
        found["mappings"] = [{"type": "value", "options": options}]
    if panel.link:
        link = {"title": panel.link.title, "url": panel.link.url, "targetBlank": True}
        found["links"] = [link]
    return found


def _custom(panel: Panel) -> dict[str, Any]:
    if panel.kind == "state-timeline":
        return {"fillOpacity": 80, "lineWidth": 0}
    if panel.kind == "table":
        return {"align": "auto", "inspect": False}
    if panel.kind != "timeseries":
        return {}
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 40 if panel.stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
    }
