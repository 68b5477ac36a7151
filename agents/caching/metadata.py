"""What a platform makes of a page, remembered: reading it is most of the work of a cache hit."""

import time
from collections.abc import Callable

from cachetools import TTLCache

from agents.platforms.interface import Platform
from schemas.video import Cookie, Extraction, MediaSource, VideoInfo, VideoRef

ENTRIES = 2_000
"""Videos kept: about 30 KB each, so 60 MB at most."""

LIFE_SECONDS = 1_800.0
"""The same as the life of what the page said."""

Read = tuple[VideoInfo, tuple[MediaSource, ...]]
Key = tuple[str, bytes, tuple[Cookie, ...]]


class MetadataCache:
    """`VideoInfo` and media sources by the raw extraction that they are made of."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._known: TTLCache[Key, Read] = TTLCache(ENTRIES, LIFE_SECONDS, timer=clock)

    def read(self, platform: Platform, video: VideoRef, extraction: Extraction) -> Read:
        """Return what the platform reads in an extraction.

        Raises:
            ClipmillError: the platform cannot read it.
        """
        # The sources carry the cookies, and a page read anew may have set other ones.
        key = (video.url, bytes(extraction.raw), extraction.cookies)
        found = self._known.get(key)
        if found is None:
            found = (
                platform.describe(video, extraction),
                platform.get_media_sources(extraction),
            )
            self._known[key] = found
        return found
