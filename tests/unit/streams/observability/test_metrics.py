import re

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from streams.observability import metrics
from streams.observability.logs import TRACE
from streams.observability.metrics import REGISTRY, StageMetrics, observe, start_at_zero

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"

OWN_METRICS = {
    name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)
}
BOUNDED = {
    *("topic", "partition", "thread", "action", "attempt"),
    *(
        "stage",
        "table",
        "status",
        "error_type",
        "step",
        "delay",
        "reason",
        "content",
        "cache",
        "level",
        "outcome",
    ),
    *("platform", "yt_dlp", "curl_cffi", "operation", "egress", "state"),
    *("strategy", "command", "account"),
    *("process", "plugin", "trouble", "quantile"),
    *("cause", "direction", "version"),
}


@pytest.mark.parametrize("metric", OWN_METRICS.values(), ids=list(OWN_METRICS))
def test_metric_has_prefix_documentation_and_bounded_labels(metric: MetricWrapperBase) -> None:
    family: Metric = next(iter(metric.describe()))
    assert re.fullmatch(r"clipmill_[a-z_]+", family.name)
    assert family.documentation.endswith(".")
    assert set(metric._labelnames) <= BOUNDED
    assert not {"url", "id", "user", "request", "key"} & set(metric._labelnames)


def test_exported_metrics_have_known_prefixes_and_unique_names() -> None:
    names = {family.name for family in REGISTRY.collect()}
    assert {name.partition("_")[0] for name in names} <= {"clipmill", "process", "python"}
    assert len({family.name for family in REGISTRY.collect()}) == len(list(REGISTRY.collect()))


def test_stage_series_exist_before_the_first_record() -> None:
    StageMetrics("fresh")
    page = generate_latest(REGISTRY).decode()
    for name in ("records_in_total", "records_out_total", "bugs_total", "restarts_total"):
        assert f'clipmill_stage_{name}{{stage="fresh"}} 0.0' in page


def test_finished_record_updates_count_duration_and_timestamp() -> None:
    stage = StageMetrics("counted")
    stage.records_finished((0.0,), 3)
    labels = {"stage": "counted"}
    assert REGISTRY.get_sample_value("clipmill_stage_records_out_total", labels) == 3
    assert REGISTRY.get_sample_value("clipmill_stage_duration_seconds_count", labels) == 1
    last = REGISTRY.get_sample_value("clipmill_stage_last_processed_timestamp_seconds", labels)
    assert last is not None
    assert last > 1_700_000_000


@pytest.mark.parametrize(
    "buckets",
    [
        metrics.DURATION_BUCKETS,
        metrics.SHORT_BUCKETS,
        metrics.SIZE_BUCKETS,
        metrics.BYTES_BUCKETS,
    ],
)
def test_buckets_increase(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))


def test_duration_buckets_cover_subseconds_to_the_longest_download() -> None:
    below = [bound for bound in metrics.DURATION_BUCKETS if bound < 1]
    assert len(below) >= 6
    assert metrics.DURATION_BUCKETS[-1] >= 1_800


def test_export_has_no_created_series() -> None:
    StageMetrics("created")
    assert "_created" not in generate_latest(REGISTRY).decode()


def test_start_at_zero_creates_all_label_combinations() -> None:
    registry = CollectorRegistry()
    counter = Counter("letters", "Letters.", ("step", "reason"), registry=registry)
    start_at_zero(counter, ["a", "b"], (name for name in ("x", "y", "z")))
    samples = {
        (each.labels["step"], each.labels["reason"]): each.value
        for family in registry.collect()
        for each in family.samples
    }
    assert samples == {(step, reason): 0.0 for step in "ab" for reason in "xyz"}


def openmetrics_page(trace: str | None, context: str = "") -> str:
    registry = CollectorRegistry()
    histogram = Histogram("seconds", "Seconds.", registry=registry)
    token = TRACE.set(context)
    try:
        observe(histogram, 0.3, trace)
    finally:
        TRACE.reset(token)
    assert "trace_id" not in generate_latest(registry).decode()
    page: str = openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    return page


@pytest.mark.parametrize(("trace", "context"), [(TRACE_ID, ""), (None, TRACE_ID)])
def test_exemplar_has_the_trace_id_in_openmetrics_only(trace: str | None, context: str) -> None:
    assert f'# {{trace_id="{TRACE_ID}"}} 0.3' in openmetrics_page(trace, context)


@pytest.mark.parametrize(
    "trace", ["", "x", TRACE_ID.upper(), f"{TRACE_ID}0", f"{TRACE_ID}\n", 'a"}} 1' * 100]
)
def test_invalid_trace_id_gives_no_exemplar(trace: str) -> None:
    page = openmetrics_page(trace)
    assert "trace_id" not in page
    assert "seconds_count 1.0" in page
