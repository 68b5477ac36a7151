"""Caches the files chosen for a page and options, in the process only.

Selection takes 16 µs and a hit 3 µs (docs/caching.md). A table row, with its record on the
changelog, or a lookup in a shared backend costs many times what it would save, so there is none.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from agents.caching.metadata import PageMetadata
from agents.caching.ttl_lru import BoundedCache
from agents.formats.selection import Choice, choose_files
from schemas.request import Options
from schemas.video import MediaSource, SelectedSource, VideoRef

NAME: Final = "format_choice"

TTL_SECONDS = 3_600.0
"""Default TTL."""

CHOICE_BYTES = 900
"""Memory of an entry with its key, without its files. Measured."""

SOURCE_BYTES = 1_700
"""Memory of each chosen file when its page is not cached any more."""

Files = tuple[SelectedSource, ...]
ChoiceKey = tuple[str, bytes, Options, frozenset[str], frozenset[str]]
"""Video, page digest, options, avoided formats, formats found to be silent."""


def size_of(_key: ChoiceKey, files: Files) -> int:
    """Estimate the memory of an entry."""
    return CHOICE_BYTES + SOURCE_BYTES * len(files)


class FormatChoices:
    """Chosen files by video, page and options.

    Args:
        store: constructed with `size_of`.
    """

    def __init__(self, store: BoundedCache[ChoiceKey, Files] | None = None) -> None:
        self._store = BoundedCache(NAME, TTL_SECONDS, size_of=size_of) if store is None else store

    def choose(
        self,
        video: VideoRef,
        page: PageMetadata,
        options: Options,
        avoided: Collection[str] = (),
        silent: Collection[str] = (),
    ) -> Files:
        """Return the files to fetch; see `agents.formats.selection.choose_files`.

        Raises:
            ClipmillError: none fulfils the options, or the ones that do are too large. Not cached.
        """
        avoided, silent = frozenset(avoided), frozenset(silent)
        key = (video.key, page.digest, _selection_options(options), avoided, silent)
        files = self._store.get(key)
        if files is None:
            # Of several sources of one format id the last one of the page wins.
            sources = {source.format.format_id: source for source in page.sources}
            formats = [source.format for source in sources.values()]
            missing = page.info.missing_pictures
            chosen = choose_files(formats, options, avoided, missing, silent)
            files = tuple(_to_selected_source(each, sources, options) for each in chosen)
            self._store.set(key, files)
        return files


def _selection_options(options: Options) -> Options:
    """Reset the options that have no influence on the selection."""
    return msgspec.structs.replace(
        options,
        refresh=False,
        limit=None,
        sidecars=(),
        embed_metadata=False,
        subtitles=(),
        automatic_subtitles=False,
        subtitle_formats=("vtt",),
    )


def _to_selected_source(
    chosen: Choice, sources: Mapping[str, MediaSource], options: Options
) -> SelectedSource:
    source, sound = sources[chosen.format.format_id], chosen.sound_from
    return SelectedSource(
        format=chosen.format,
        url=source.url,
        headers=source.headers,
        cookies=source.cookies,
        representation=source.representation,
        sound_only=options.audio_only and chosen.format.video_codec is not None,
        sound_from=sources[sound.format_id] if sound else None,
    )
