"""Caches: in-process TTL/LRU, table rows, and a shared backend; positive and negative results."""
