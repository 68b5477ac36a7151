"""Builders of the panels that the boards share."""

from typing import Any

from deploy.grafana.model import Link, Panel, Query, State, Variable
from deploy.grafana.promql import INSTANCE, quantile

INSTANCES = Variable("instance", "clipmill_stage_ready")

BREAKER_STATES = {
    0: State("closed", "green"),
    1: State("half-open", "yellow"),
    2: State("open", "red"),
    3: State("forced open", "purple"),
}
READINESS = {0: State("not ready", "red"), 1: State("ready", "green")}
PAUSES = {0: State("consuming", "green"), 1: State("paused", "red")}
COOKIES = {0: State("saved", "green"), 1: State("not saved", "red")}
HEALTH = {0: State("not used", "red"), 1: State("used", "green")}


def console_url(page: str) -> str:
    """Return the URL of a page of the console."""
    return f"${{console:raw}}/{page}"


FAILED_REQUESTS = Link(
    "Requests with this code", console_url("?error=${__field.labels.error_type}")
)


def line(title: str, expr: str, legend: str = "", **more: Any) -> Panel:
    """Return a panel with the series of one query."""
    return Panel(title, (Query(expr, legend),), **more)


def stat(title: str, expr: str, **more: Any) -> Panel:
    """Return the newest value of a query as a stat panel, six to a row."""
    return Panel(title, (Query(expr),), kind="stat", width=4, height=4, **more)


def states(title: str, expr: str, legend: str, names: dict[int, State], **more: Any) -> Panel:
    """Return the states of a query's series over time."""
    return Panel(title, (Query(expr, legend),), kind="state-timeline", states=names, **more)


def quantiles(title: str, metric: str, by: str = "", where: str = INSTANCE, **more: Any) -> Panel:
    """Return the 50th, 95th and 99th percentile of a histogram of seconds."""
    labels = "".join(f" {{{{{label}}}}}" for label in by.split(", ") if label)
    queries = tuple(
        Query(quantile(share, metric, by, where), f"p{round(share * 100)}{labels}")
        for share in (0.5, 0.95, 0.99)
    )
    return Panel(title, queries, unit="s", **more)


def heatmap(title: str, metric: str, where: str = INSTANCE, **more: Any) -> Panel:
    """Return how the observations of a histogram of seconds are distributed over time."""
    expr = f"sum by (le) (increase({metric}_bucket{{{where}}}[$__rate_interval]))"
    return Panel(title, (Query(expr, "{{le}}"),), kind="heatmap", unit="s", **more)
