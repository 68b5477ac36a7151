"""Memory, CPU, disk, threads, tables."""

from deploy.grafana.model import Board, Panel, Query, Row
from deploy.grafana.panels import INSTANCES, line
from deploy.grafana.promql import INSTANCE, increase, largest, quantile, rate, total

PROCESSES = Row(
    "Processes",
    (
        line(
            "CPU",
            f"rate(process_cpu_seconds_total{{{INSTANCE}}}[$__rate_interval])",
            "{{instance}}",
            description="Cores used by the worker, without the engine's processes.",
        ),
        line(
            "Memory by process",
            total("clipmill_memory_bytes", "instance, process"),
            "{{instance}} {{process}}",
            unit="bytes",
            stacked=True,
        ),
        line(
            "Share of the limit",
            f"sum by (instance) (clipmill_memory_bytes{{{INSTANCE}}})"
            f" / on (instance) clipmill_memory_limit_bytes{{{INSTANCE}}}",
            "{{instance}}",
            unit="percentunit",
            maximum=1,
            description="Memory in use as a share of the limit; caches are evicted at 75 %.",
        ),
        line(
            "Growth per hour",
            largest("clipmill_memory_trend_bytes_per_hour", "instance, process")
            + " or on () vector(0)",
            "{{instance}} {{process}}",
            unit="bytes",
            description="Lasting growth of memory; known after half an hour.",
        ),
        line("Cache evictions under memory pressure", increase("clipmill_memory_reliefs_total")),
        Panel(
            "Event-loop delay, p99",
            (
                Query(
                    quantile(0.99, "clipmill_event_loop_delay_seconds", "instance, thread"),
                    "{{instance}} {{thread}}",
                ),
            ),
            unit="s",
        ),
        line(
            "Open files",
            total("clipmill_open_files", "instance, process"),
            "{{instance}} {{process}}",
        ),
        line("Threads", total("clipmill_threads", "instance, process"), "{{instance}} {{process}}"),
        line(
            "Garbage collections",
            rate("python_gc_collections_total", "generation"),
            "generation {{generation}}",
            unit="ops",
            description="Collections of Python's garbage collector per second.",
        ),
        line(
            "Trace spans dropped",
            increase("clipmill_trace_spans_dropped_total", "reason"),
            "{{reason}}",
        ),
    ),
)

STORAGE = Row(
    "Storage of files",
    (
        line(
            "Operations",
            rate("clipmill_storage_operation_seconds_count", "operation"),
            "{{operation}}",
            unit="ops",
            description="Successful operations of the storage in a second.",
        ),
        line(
            "Duration, 95 %",
            quantile(0.95, "clipmill_storage_operation_seconds", "operation"),
            "{{operation}}",
            unit="s",
        ),
        line(
            "Failures by cause",
            increase("clipmill_storage_errors_total", "operation, cause"),
            "{{operation}} {{cause}}",
        ),
        line(
            "Bytes",
            rate("clipmill_storage_bytes_total", "direction"),
            "{{direction}}",
            unit="Bps",
        ),
    ),
)

RETENTION = Row(
    "Retention of files",
    (
        line(
            "Stored files",
            f"max(clipmill_stored_files{{{INSTANCE}}})",
            description="Files at the last check; 0 without limits in the settings.",
            page="library",
        ),
        line(
            "Stored bytes",
            f"max(clipmill_stored_bytes{{{INSTANCE}}})",
            unit="bytes",
        ),
        line(
            "Files removed",
            increase("clipmill_files_removed_total", "cause"),
            "{{cause}}",
            description="Files removed because of their age, or of the bytes of all files.",
        ),
        line(
            "Bytes removed",
            increase("clipmill_files_removed_bytes_total", "cause"),
            "{{cause}}",
            unit="bytes",
        ),
        line(
            "Bytes saved by links",
            increase("clipmill_storage_shared_bytes_total"),
            unit="bytes",
            description="Bytes that another stored file already had.",
        ),
        line(
            "Age of the last check",
            f"time() - max(clipmill_retention_checked_timestamp_seconds{{{INSTANCE}}} > 0)"
            " or on () vector(0)",
            unit="s",
            description="Time since retention last listed the files; 0 without limits.",
        ),
    ),
)

DISK = Row(
    "Disk and tables",
    (
        line(
            "Disk free",
            f"min by (instance) (clipmill_disk_free_bytes{{{INSTANCE}}} > 0)",
            "{{instance}}",
            unit="bytes",
        ),
        line("Table rows", total("clipmill_table_rows", "stage, table"), "{{stage}} {{table}}"),
        line(
            "Table bytes",
            total("clipmill_table_bytes", "stage, table"),
            "{{stage}} {{table}}",
            unit="bytes",
        ),
        line(
            "Changelog lag during recovery",
            total("clipmill_table_changelog_lag_records", "stage, table"),
            "{{stage}} {{table}}",
        ),
        line(
            "Plug-in failures",
            increase("clipmill_plugin_troubles_total", "plugin, trouble"),
            "{{plugin}} {{trouble}}",
        ),
    ),
)

RESOURCES = Board(
    "resources",
    "Resources",
    "Memory, CPU, disk, threads and tables of each worker.",
    (PROCESSES, STORAGE, RETENTION, DISK),
    (INSTANCES,),
)
