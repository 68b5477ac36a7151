"""Model of a Grafana dashboard; `grafana_json` serialises it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["timeseries", "stat", "state-timeline", "table", "heatmap"]
Unit = Literal[
    "short", "reqps", "ops", "s", "bytes", "Bps", "percentunit", "percent", "dateTimeAsIso"
]


@dataclass(frozen=True)
class Query:
    """A query in PromQL; ``$__rate_interval`` is the window of every rate.

    Args:
        expr: PromQL with the variables of its board.
        legend: name of a series, such as ``{{stage}}``.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class State:
    """A value with a name and a colour of Grafana's palette."""

    text: str
    color: str


@dataclass(frozen=True)
class Link:
    """Where a click on a value leads, with Grafana's variables."""

    title: str
    url: str


@dataclass(frozen=True)
class Panel:
    """A panel of a board.

    Args:
        description: what it shows; by default the help text of the first metric in its queries.
        width: in 24ths of the board.
        stacked: areas on top of each other.
        states: names of values, for state timelines and stats.
        warn: value from which a stat is orange; ``alarm``: red.
        link: of each value.
        page: of the console, with more about what the panel shows; a link in its heading.
        maximum: end of the axis.
    """

    title: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    kind: Kind = "timeseries"
    description: str = ""
    width: int = 8
    height: int = 8
    stacked: bool = False
    states: Mapping[int, State] | None = None
    warn: float | None = None
    alarm: float | None = None
    link: Link | None = None
    page: str = ""
    maximum: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels under one heading, in rows of 24 columns."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice of label values, several or all of them.

    Args:
        metric: whose values of the label ``name`` are offered.
    """

    name: str
    metric: str


@dataclass(frozen=True)
class Board:
    """A board; its uid and the name of its file are ``clipmill-<name>``."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
