"""Memory of a process and its children: measurement, limits, and leak detection."""

from streams.memory.monitor import MemoryExhaustedError, MemoryMonitor
from streams.memory.reading import Limit, Usage, find_limit, read_usage
from streams.memory.trend import Trend, find_trend
from streams.memory.users import MemoryUsers

__all__ = [
    "Limit",
    "MemoryExhaustedError",
    "MemoryMonitor",
    "MemoryUsers",
    "Trend",
    "Usage",
    "find_limit",
    "find_trend",
    "read_usage",
]
