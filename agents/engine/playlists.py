"""The first entries of a playlist, read from its pages as far as they are wanted."""

import itertools
from collections.abc import Iterator
from typing import Any

from agents.engine.request_bounds import Deadline
from agents.engine.results import NotAResultError

ENTRY_KEYS = (
    *("_type", "id", "url", "webpage_url", "ie_key", "title", "timestamp", "release_timestamp"),
    *("upload_date", "duration", "uploader", "uploader_id", "channel", "channel_id", "view_count"),
)
"""What is kept of an entry; of a thousand entries more would be beyond the bounds of a result."""

COMPLETE = "clipmill_complete"
"""Key of the result: the playlist has no entries beyond those read."""

_PLAYLISTS = frozenset({"playlist", "multi_video"})
_NO_MORE = object()


def read_entries(result: Any, entries_max: int | None, deadline: Deadline) -> Any:
    """Return a playlist with its first entries as a list; any other result as it is.

    An extractor gives entries one by one and asks for the next page when it comes to its end.
    Behind the last entry that is wanted it is asked once more, and may not ask for a page then:
    so `COMPLETE` is told without a request, and is false when only a request could tell.

    Args:
        result: what the extractor returned.
        entries_max: how many entries at most; None: no playlist is expected, and one that is
            there as a list already is left as it is.
        deadline: of the requests; it is over for good afterwards.

    Raises:
        NotAResultError: entries would have to be asked for, and nobody wants any.
        Exception: what the extractor raised on the way to one of the entries.
    """
    if not isinstance(result, dict) or result.get("_type") not in _PLAYLISTS:
        return result
    listed = result.get("entries")
    if entries_max is None:
        return _as_it_is(result, listed)
    # yt-dlp's lists that fetch themselves page by page have no iterator, and do as sequences.
    source = iter(() if listed is None else listed)
    entries = [_small(entry) for entry in itertools.islice(source, entries_max)]
    kept = [entry for entry in entries if entry is not None]
    return {**result, "entries": kept, COMPLETE: _is_exhausted(source, deadline)}


def _as_it_is(result: dict[str, Any], listed: Any) -> dict[str, Any]:
    if listed is None or isinstance(listed, list | tuple):
        return result
    raise NotAResultError("the extractor returned a playlist, and the job asks for no entries")


def _is_exhausted(source: Iterator[Any], deadline: Deadline) -> bool:
    deadline.end()
    try:
        more = next(source, _NO_MORE)
    except Exception:  # noqa: BLE001 - no page can be had any more, and each says so in its way
        return False
    # An extractor may take a page that it does not get for an empty one.
    return more is _NO_MORE and not deadline.refused


def _small(entry: Any) -> dict[str, Any] | None:
    if not isinstance(entry, dict):
        return None
    return {key: entry[key] for key in ENTRY_KEYS if key in entry}
