import re

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from streams import metrics
from streams.metrics import REGISTRY, StageMetrics

OURS = {
    name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)
}
BOUNDED = {
    "topic",
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
}


@pytest.mark.parametrize("metric", OURS.values(), ids=list(OURS))
def test_a_metric_has_prefix_sentence_and_bounded_labels(metric: MetricWrapperBase) -> None:
    family: Metric = next(iter(metric.describe()))
    assert re.fullmatch(r"clipmill_[a-z_]+", family.name)
    assert family.documentation.endswith(".")
    assert set(metric._labelnames) <= BOUNDED
    assert not {"url", "id", "user", "request", "key"} & set(metric._labelnames)


def test_everything_that_is_exported_is_ours_or_of_the_process() -> None:
    names = {family.name for family in REGISTRY.collect()}
    assert {name.partition("_")[0] for name in names} <= {"clipmill", "process", "python"}
    assert len({family.name for family in REGISTRY.collect()}) == len(list(REGISTRY.collect()))


def test_a_stage_exists_in_the_export_before_its_first_record() -> None:
    StageMetrics("fresh")
    page = generate_latest(REGISTRY).decode()
    for name in ("records_in_total", "records_out_total", "bugs_total", "restarts_total"):
        assert f'clipmill_stage_{name}{{stage="fresh"}} 0.0' in page


def test_a_finished_record_is_counted_timed_and_dated() -> None:
    stage = StageMetrics("counted")
    stage.finished(0.0, 3)
    labels = {"stage": "counted"}
    assert REGISTRY.get_sample_value("clipmill_stage_records_out_total", labels) == 3
    assert REGISTRY.get_sample_value("clipmill_stage_duration_seconds_count", labels) == 1
    last = REGISTRY.get_sample_value("clipmill_stage_last_processed_timestamp_seconds", labels)
    assert last is not None
    assert last > 1_700_000_000


def test_buckets_grow() -> None:
    assert list(metrics.DURATION_BUCKETS) == sorted(set(metrics.DURATION_BUCKETS))
