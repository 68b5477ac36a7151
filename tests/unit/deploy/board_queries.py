"""The boards' queries as Grafana sends them to Prometheus."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BOARDS_FOLDER = Path(__file__).parents[3] / "deploy" / "grafana" / "boards"
ALL = ".*"


def boards() -> dict[str, dict[str, Any]]:
    """Return the boards by the names of their files."""
    return {
        path.stem: json.loads(path.read_text()) for path in sorted(BOARDS_FOLDER.glob("*.json"))
    }


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a board, rows left out."""
    return [each for each in board["panels"] if each["type"] != "row"]


def queries(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each query with the title of its panel."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def interpolated(expr: str, window: str = "1m", span: str = "15m") -> str:
    """Return a query with every variable set to all values.

    Args:
        window: of rates.
        span: time range of the board.
    """
    expr = expr.replace("$__rate_interval", window).replace("$__range", span)
    return re.sub(r"\$[a-z]+", ALL, expr)
