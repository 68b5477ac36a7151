"""Memory of a process and its children: seen, bounded, and watched for leaks."""

from streams.memory.monitor import MemoryExhaustedError, MemoryMonitor
from streams.memory.reading import Limit, Use, find_limit, read_use
from streams.memory.trend import Trend, find_trend
from streams.memory.users import MemoryUsers

__all__ = [
    "Limit",
    "MemoryExhaustedError",
    "MemoryMonitor",
    "MemoryUsers",
    "Trend",
    "Use",
    "find_limit",
    "find_trend",
    "read_use",
]
