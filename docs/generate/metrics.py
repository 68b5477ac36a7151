"""Page of the Prometheus metrics: type, labels, help."""

from prometheus_client.metrics import MetricWrapperBase

from docs.generate.markdown import code, codes, head, page, source, table
from streams.observability import metrics


def page_of_metrics() -> str:
    """Return the page."""
    introduction = (
        f"All metrics of {source(metrics)}, in alphabetical order. A process serves them at "
        "`/metrics`, together with `process_*` and `python_*` of the client library. Which of "
        "them to watch: [operations](../operations.md#what-to-watch); boards: "
        "[monitoring](../monitoring.md#boards). A histogram has the series `_bucket`, `_sum` and "
        "`_count`."
    )
    found = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    rows = sorted(
        (
            code(_exposed_name(each)),
            str(each._type),  # noqa: SLF001 - the library has no public name for it
            codes(each._labelnames),  # noqa: SLF001
            each._documentation,  # noqa: SLF001
        )
        for each in found
    )
    return page(head("Metrics", introduction), table(("metric", "type", "labels", "meaning"), rows))


def _exposed_name(metric: MetricWrapperBase) -> str:
    """Return the name as scraped: the library keeps counters without their suffix."""
    name: str = metric._name  # noqa: SLF001
    return f"{name}_total" if metric._type == "counter" else name  # noqa: SLF001
