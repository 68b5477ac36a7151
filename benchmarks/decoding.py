"""Time to decode a post's data from a page: our decoder, a full decode, and yt-dlp's."""

import timeit
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from yt_dlp import YoutubeDL
from yt_dlp.extractor.tiktok import TikTokIE

from agents.platforms.tiktok.page import DETAIL, read_post_data
from tests.standin import video_id
from tests.standin.links import Issue
from tests.standin.pages import post_page
from tests.standin.posts import post_for

TIMES = 100
ROUNDS = 5
START = 'type="application/json">'


def decoding_lines() -> Iterator[str]:
    """Measure each decoder, and yield a line for it."""
    page = b"".join(map(bytes, post_page(post_for(video_id()), Issue(0)).chunks())).decode()
    with YoutubeDL({"quiet": True}, auto_init=False) as ydl:
        stock = TikTokIE(ydl)
        decoders: dict[str, Callable[[], Any]] = {
            "decoding: the post's part": lambda: read_post_data(page),
            "decoding: all, orjson": lambda: _decode_all(page),
            "decoding: all, yt-dlp": lambda: stock._get_universal_data(page, "1"),  # noqa: SLF001
        }
        found = [decoder()[DETAIL] for decoder in decoders.values()]
        assert found[1:] == found[:-1]
        milliseconds = {name: _milliseconds(decoder) for name, decoder in decoders.items()}
    reference = milliseconds["decoding: all, yt-dlp"]
    for name, each in milliseconds.items():
        yield f"{name:41}{each:9.2f} ms {each / reference:25.2f}"


def _milliseconds(decoder: Callable[[], Any]) -> float:
    return min(timeit.repeat(decoder, number=TIMES, repeat=ROUNDS)) / TIMES * 1e3


def _decode_all(page: str) -> Any:
    start = page.index(START) + len(START)
    return orjson.loads(page[start : page.index("</script>", start)])["__DEFAULT_SCOPE__"]
