"""Commit metadata: how many records are finished ahead of the committed offset.

A stage finishes records out of order and commits in order, so by the committed offset alone all
records finished behind a slow one would count as unfinished. Confluent's parallel consumer stores
its incomplete offsets in the same field.
"""

import re

_AHEAD = re.compile(r"finished-ahead=(\d{1,9})", re.ASCII)


def commit_metadata(ahead: int) -> str:
    return f"finished-ahead={ahead}" if ahead else ""


def finished_ahead(metadata: str) -> int:
    """Return the number of records finished ahead of a commit, 0 without metadata."""
    found = _AHEAD.fullmatch(metadata)
    return int(found[1]) if found else 0
