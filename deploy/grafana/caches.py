"""Board of the caches: hits, content, evictions."""

from deploy.grafana.model import Board, Panel, Query, Row
from deploy.grafana.panels import INSTANCES, line
from deploy.grafana.promql import INSTANCE, increase, quantile, rate, total

_HITS = rate("clipmill_cache_requests_total", "stage, cache, level", f'{INSTANCE},outcome="hit"')
_ALL = rate("clipmill_cache_requests_total", "stage, cache, level")

LOOKUPS = Row(
    "Lookups",
    (
        line(
            "Hit ratio by level",
            f"{_HITS} / ({_ALL} > 0)",
            "{{cache}} {{level}}",
            unit="percentunit",
            maximum=1,
            description="Share of the lookups of a level that are hits.",
            page="caches",
        ),
        line(
            "Lookups by outcome",
            rate("clipmill_cache_requests_total", "cache, outcome"),
            "{{cache}} {{outcome}}",
            unit="ops",
        ),
        Panel(
            "Latency from request to result by cache, p95",
            (
                Query(
                    quantile(
                        0.95,
                        "clipmill_request_duration_seconds",
                        "action, cache",
                        f'{INSTANCE},status="completed"',
                    ),
                    "{{action}} {{cache}}",
                ),
            ),
            unit="s",
        ),
    ),
)

CONTENT = Row(
    "Content",
    (
        line(
            "Entries",
            total("clipmill_cache_entries", "stage, cache, level"),
            "{{stage}} {{cache}} {{level}}",
            page="caches",
        ),
        line(
            "Bytes",
            total("clipmill_cache_bytes", "stage, cache, level"),
            "{{stage}} {{cache}} {{level}}",
            unit="bytes",
        ),
        line(
            "Evictions",
            increase("clipmill_cache_evictions_total", "cache, reason"),
            "{{cache}} {{reason}}",
        ),
        line(
            "Calls of the shared cache",
            f"{rate('clipmill_shared_cache_calls_total', 'operation, outcome')} or on () vector(0)",
            "{{operation}} {{outcome}}",
            unit="ops",
        ),
    ),
)

CACHES = Board(
    "caches",
    "Caches",
    "Hits, content and evictions of every cache and level.",
    (LOOKUPS, CONTENT),
    (INSTANCES,),
)
