"""Caches: in-process TTL/LRU, table rows, and a shared backend; positive and negative results.

Front door of cache backends.
"""

from agents.caching.interface import BackendSettings, CacheBackend, OpenBackend

__all__ = ["BackendSettings", "CacheBackend", "OpenBackend"]
