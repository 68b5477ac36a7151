"""Which files were chosen for which options, remembered in the process.

Choosing takes 20 µs and a hit 2 µs (docs/caching.md). A row of a table, with its record on the
changelog, or a look-up in a shared backend costs many times what it would save: there is none.
"""

from collections.abc import Collection, Mapping

import msgspec

from agents.caching.metadata import Page
from agents.caching.ttl_lru import BoundedCache
from agents.formats.selection import Choice, choose_files
from schemas.request import Options
from schemas.video import MediaSource, SelectedSource, VideoRef

NAME = "format_choice"

LIFE_SECONDS = 3_600.0
"""Unless set."""

CHOICE_BYTES = 900
"""Of memory for a choice with its key, beside its files. Measured."""

SOURCE_BYTES = 1_700
"""Of memory for each chosen file when its page is not remembered any more."""

Files = tuple[SelectedSource, ...]
Key = tuple[str, bytes, Options, frozenset[str], frozenset[str]]
"""Video, digest of its page, options, formats that are avoided, those found to be silent."""


def size_of(_key: Key, files: Files) -> int:
    """Return the bytes of a choice, estimated."""
    return CHOICE_BYTES + SOURCE_BYTES * len(files)


class FormatChoices:
    """Files by video, page and options.

    Args:
        store: keeps them; made with `size_of`.
    """

    def __init__(self, store: BoundedCache[Key, Files] | None = None) -> None:
        self._store = BoundedCache(NAME, LIFE_SECONDS, size_of=size_of) if store is None else store

    def choose(
        self,
        video: VideoRef,
        page: Page,
        options: Options,
        avoided: Collection[str] = (),
        silent: Collection[str] = (),
    ) -> Files:
        """Return the files to fetch of a page; see `agents.formats.selection.choose_files`.

        Raises:
            ClipmillError: none fulfils the options, or those that do are too large.
        """
        left_out = frozenset(avoided), frozenset(silent)
        key = (video.key, page.digest, _that_matter(options), *left_out)
        files = self._store.get(key)
        if files is None:
            files = _choose(page, options, *left_out)
            self._store.set(key, files)
        return files


def _that_matter(options: Options) -> Options:
    """Return the options without those that choose no format."""
    return msgspec.structs.replace(options, refresh=False, limit=None)


def _choose(
    page: Page, options: Options, avoided: Collection[str], silent: Collection[str]
) -> Files:
    # Of several places where a file is, the last one that the page names is taken.
    sources = {source.format.format_id: source for source in page.sources}
    formats = [source.format for source in sources.values()]
    chosen = choose_files(formats, options, avoided, page.info.missing_pictures, silent)
    return tuple(_to_selected_source(each, sources, options) for each in chosen)


def _to_selected_source(
    chosen: Choice, sources: Mapping[str, MediaSource], options: Options
) -> SelectedSource:
    source, sound = sources[chosen.format.format_id], chosen.sound_from
    return SelectedSource(
        format=chosen.format,
        url=source.url,
        headers=source.headers,
        cookies=source.cookies,
        sound_only=options.audio_only and chosen.format.video_codec is not None,
        sound_from=sources[sound.format_id] if sound else None,
    )
