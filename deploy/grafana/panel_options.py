"""How each kind of panel is drawn: every field that Grafana's strict decoder asks for."""

from typing import Any

_LEGEND = {
    "showLegend": True,
    "displayMode": "table",
    "placement": "bottom",
    "calcs": ["lastNotNull", "max"],
}
_TOOLTIP = {"mode": "multi", "sort": "desc"}

OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": _LEGEND, "tooltip": _TOOLTIP},
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "value",
        "orientation": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
    },
    "state-timeline": {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.9,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": _TOOLTIP,
    },
    "table": {"showHeader": True, "cellHeight": "sm", "frameIndex": 0},
    "heatmap": {
        "calculate": False,
        "showValue": "never",
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "steps": 64,
            "fill": "dark-orange",
            "exponent": 0.5,
            "reverse": False,
        },
        "yAxis": {"unit": "s", "axisPlacement": "left"},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False},
    },
}
