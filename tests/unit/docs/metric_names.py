"""Names of our metrics in documents, queries and rules."""

import re

from prometheus_client.metrics import MetricWrapperBase

from streams.observability import metrics

_SUFFIX = re.compile(r"_(total|bucket|sum|count)$")

OTHER_NAMES = frozenset({"clipmill_priority", "clipmill_complete", "clipmill_examples"})
"""A record header, a field of the engine's answers, and a package."""


def metric_labels() -> dict[str, set[str]]:
    """Return the labels of our metrics, by name without suffix."""
    families = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    return {_SUFFIX.sub("", each._name): set(each._labelnames) for each in families}


def metrics_in(text: str) -> set[str]:
    """Return the metrics that a text names, without suffix; those of a prefix (``_*``) if any."""
    found: set[str] = set()
    for name in set(re.findall(r"clipmill_[a-z_]+", text)) - OTHER_NAMES:
        below = {each for each in metric_labels() if name.endswith("_") and each.startswith(name)}
        found |= below or {_SUFFIX.sub("", name)}
    return found
