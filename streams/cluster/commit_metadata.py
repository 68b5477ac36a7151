"""What a commit says beside its offset: how many records are finished ahead of it.

A stage finishes records out of order and commits in order, so the committed offset alone would
count all that is finished behind one slow record as unfinished. Confluent's parallel consumer keeps
its incomplete offsets in the same place.
"""

import re

_AHEAD = re.compile(r"finished-ahead=(\d{1,9})", re.ASCII)


def commit_metadata(ahead: int) -> str:
    """Return the metadata of a commit."""
    return f"finished-ahead={ahead}" if ahead else ""


def finished_ahead(metadata: str) -> int:
    """Return how many records a commit says are finished ahead of its offset, 0 if none."""
    found = _AHEAD.fullmatch(metadata)
    return int(found[1]) if found else 0
