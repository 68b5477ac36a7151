"""Reader of the first entries of a playlist; requests only the pages that hold them."""

import itertools
from collections.abc import Iterator
from typing import Any

from agents.engine.request_bounds import Deadline
from agents.engine.results import NotAResultError

ENTRY_KEYS = (
    *("_type", "id", "url", "webpage_url", "ie_key", "title", "timestamp", "release_timestamp"),
    *("upload_date", "duration", "uploader", "uploader_id", "channel", "channel_id", "view_count"),
)
"""Keys kept of an entry; with more, a thousand entries would exceed the size of a result."""

COMPLETE = "clipmill_complete"
"""Key of the result: true when the playlist has no entries beyond those read."""

_PLAYLISTS = frozenset({"playlist", "multi_video"})
_END = object()


def read_entries(result: Any, entries_max: int | None, deadline: Deadline) -> Any:
    """Return a playlist with its first entries as a list; any other result unchanged.

    Extractors yield entries one by one and request the next page at the end of one. After the last
    entry read, one more is fetched with the deadline expired, so that no request is possible:
    `COMPLETE` costs no request, and is false when only a request could decide it.

    Args:
        result: of the extractor.
        entries_max: limit of entries. None: no playlist is expected; one whose entries are a list
            already is returned unchanged.
        deadline: of the requests; expired afterwards.

    Raises:
        NotAResultError: the entries would need requests, and `entries_max` is None.
        Exception: of the extractor, on an entry within the limit.
    """
    if not isinstance(result, dict) or result.get("_type") not in _PLAYLISTS:
        return result
    all_entries = result.get("entries")
    if entries_max is None:
        return _unexpected_playlist(result, all_entries)
    # yt-dlp's `PagedList` has no `__iter__`; `iter` uses its `__getitem__`.
    source = iter(() if all_entries is None else all_entries)
    entries = [_reduced(entry) for entry in itertools.islice(source, entries_max)]
    kept = [entry for entry in entries if entry is not None]
    return {**result, "entries": kept, COMPLETE: _is_exhausted(source, deadline)}


def _unexpected_playlist(result: dict[str, Any], all_entries: Any) -> dict[str, Any]:
    if all_entries is None or isinstance(all_entries, list | tuple):
        return result
    raise NotAResultError("the extractor returned a playlist, and the job asks for no entries")


def _is_exhausted(source: Iterator[Any], deadline: Deadline) -> bool:
    deadline.expire()
    try:
        entry = next(source, _END)
    except Exception:  # noqa: BLE001 - extractors raise various errors without their page
        return False
    # An extractor may take the failed request of a page for an empty page.
    return entry is _END and not deadline.exceeded


def _reduced(entry: Any) -> dict[str, Any] | None:
    if not isinstance(entry, dict):
        return None
    return {key: entry[key] for key in ENTRY_KEYS if key in entry}
