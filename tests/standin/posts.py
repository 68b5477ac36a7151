"""Posts: their formats, sizes and texts, derived from their case."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.standin.scenarios import ORDINARY, Case

DURATION_SECONDS = 10
UNKNOWN_HOST = "media.elsewhere.example"
AUDIO_BYTES = 160_000
IMAGE_BYTES = 90_000
COVER_BYTES = 24_000
MOTION = "motion"
MOTION_BYTES = 60_000
HOSTILE_TEXT = (
    '../../etc/passwd </script><script>alert("x")</script> \x00\x1b[31m \u202e %(id)s $(id)'
)


@dataclass(frozen=True, slots=True)
class Rendition:
    """One encoding of a video.

    Attributes:
        format_id: yt-dlp's id, without the number of the host.
        codec: TikTok's name of the codec.
        resolution: The nominal smaller side, such as ``720p``; empty for the single URLs.
        bits_per_second: The nominal rate; times the duration it is the size.
    """

    format_id: str
    codec: str
    resolution: str
    bits_per_second: int


RENDITIONS = (
    Rendition("h264_540p_480000", "h264", "540p", 480_000),
    Rendition("h264_720p_800000", "h264", "720p", 800_000),
    Rendition("h264_1080p_1600000", "h264", "1080p", 1_600_000),
    Rendition("bytevc1_720p_400000", "bytevc1", "720p", 400_000),
    Rendition("bytevc1_1080p_900000", "bytevc1", "1080p", 900_000),
    Rendition("bytevc2_720p_260000", "bytevc2", "720p", 260_000),
)
PLAY = Rendition("play", "h264", "", 720_000)
DOWNLOAD = Rendition("download", "h264", "", 1_000_000)
_VIDEOS = {item.format_id: item for item in (*RENDITIONS, PLAY, DOWNLOAD)}


@dataclass(frozen=True, slots=True)
class Post:
    """A video or photo post.

    Attributes:
        video_id: Its id.
        author: The author's unique name.
        description: The text under it.
        width: Of the video, in pixels.
        height: Of the video, in pixels.
        renditions: The encodings that the page lists.
        play: Whether there is a URL without watermark.
        download: Whether there is a URL with watermark.
        audio: Whether the music has a URL.
        song_seconds: Duration of the music.
        images: Number of pictures.
        lost_image: Number of the picture without a URL, from 1.
        live_image: Number of the picture with a motion file, from 1.
        image_extension: Extension of the picture URLs.
        dead_host: Whether the first host serves none of its pictures.
        silent: Whether its formats have no audio.
        picture_only: Formats without audio, as their paths indicate.
        fixed_bytes: The size of every video format; None derives it from rate and duration.
        declared_factor: Factor of the sizes that the page declares.
        link_seconds: Lifetime of links.
        media_host: The host of the links; None for the usual pair.
        promotion: ``shop`` or ``ad`` for a post that promotes something.
    """

    video_id: str
    author: str
    description: str = "a clip #fyp #clipmill"
    width: int = 720
    height: int = 1280
    renditions: tuple[Rendition, ...] = RENDITIONS
    play: bool = True
    download: bool = True
    audio: bool = True
    song_seconds: int = DURATION_SECONDS
    images: int = 0
    lost_image: int = 0
    live_image: int = 0
    image_extension: str = "jpeg"
    dead_host: bool = False
    silent: bool = False
    picture_only: frozenset[str] = frozenset()
    fixed_bytes: int | None = None
    declared_factor: int = 1
    link_seconds: int = 48 * 3600
    media_host: str | None = None
    promotion: str = ""

    def is_mute(self, format_id: str) -> bool:
        """Whether a format has no audio."""
        return self.silent or format_id in self.picture_only

    @property
    def created(self) -> int:
        """Unix time of publication: the upper half of an id, as in real ones."""
        return int(self.video_id) >> 32


def post_for(video_id: str, *, user: str = "", case: Case = ORDINARY) -> Post:
    """The post of an id, modified by a case of the surface ``post``."""
    author = user if user not in {"", "_"} else f"clip.maker{zlib.crc32(video_id.encode()) % 1000}"
    shape = _SHAPES.get(case.scenario.name)
    post = Post(video_id, author)
    return shape(post, case.value) if shape else post


def _only(post: Post, codec: str) -> Post:
    kept = tuple(item for item in post.renditions if item.codec == codec)
    return replace(post, renditions=kept, play=False, download=False, audio=False)


def _picture_only(post: Post) -> Post:
    """1080p exists in one codec only, without audio."""
    kept = tuple(item for item in post.renditions if item.format_id != "h264_1080p_1600000")
    return replace(post, renditions=kept, picture_only=frozenset({"bytevc1_1080p_900000"}))


_SHAPES: dict[str, Callable[[Post, int], Post]] = {
    "landscape": lambda post, _: replace(post, width=1280, height=720),
    "silent": lambda post, _: replace(_only(post, "bytevc1"), silent=True),
    "pictureonly": lambda post, _: _picture_only(post),
    "watermarked": lambda post, _: replace(_only(post, ""), download=True),
    "noformats": lambda post, _: _only(post, ""),
    "unplayable": lambda post, _: _only(post, "bytevc2"),
    "photo": lambda post, count: replace(_only(post, ""), images=count, audio=True),
    "photo.mute": lambda post, count: replace(_only(post, ""), images=count),
    "photo.gap": lambda post, count: replace(_only(post, ""), images=count, lost_image=2),
    "photo.live": lambda post, count: replace(_only(post, ""), images=count, live_image=2),
    "photo.webp": lambda post, count: replace(
        _only(post, ""), images=count, image_extension="webp"
    ),
    "photo.onehost": lambda post, count: replace(_only(post, ""), images=count, dead_host=True),
    "slideshow": lambda post, count: replace(post, images=count),
    "song.long": lambda post, seconds: replace(post, song_seconds=seconds),
    "song.none": lambda post, _: replace(post, audio=False),
    "size": lambda post, mebibytes: replace(post, fixed_bytes=mebibytes << 20),
    "kilobytes": lambda post, kibibytes: replace(post, fixed_bytes=kibibytes << 10),
    "mismatch": lambda post, _: replace(post, declared_factor=2),
    "hostile": lambda post, _: replace(post, author="..", description=HOSTILE_TEXT),
    "expired": lambda post, _: replace(post, link_seconds=-3600),
    "linklife": lambda post, seconds: replace(post, link_seconds=seconds),
    "shop": lambda post, _: replace(_only(post, ""), audio=True, promotion="shop"),
    "ad": lambda post, _: replace(_only(post, ""), promotion="ad"),
    "elsewhere": lambda post, _: replace(post, media_host=UNKNOWN_HOST),
    "media.tls": lambda post, _: replace(post, media_host="tls-reset.tiktokcdn.com"),
}


def media_bytes(post: Post, format_id: str) -> int | None:
    """The size of one of the post's media, None when the post has no such media."""
    extra = zlib.crc32(f"{post.video_id}/{format_id}".encode()) % 4096
    if format_id in _formats(post):
        nominal = _VIDEOS[format_id].bits_per_second * DURATION_SECONDS // 8
        return post.fixed_bytes or nominal + extra
    if format_id == "audio" and post.audio:
        return AUDIO_BYTES + extra
    if format_id in image_ids(post):
        return IMAGE_BYTES + extra
    if post.live_image and format_id == MOTION:
        return MOTION_BYTES + extra
    return COVER_BYTES + extra if format_id == "cover" else None


def format_at(position: int) -> str:
    """The format at a position in the page, from 1; the two single URLs are last."""
    return tuple(_VIDEOS)[(position - 1) % len(_VIDEOS)]


def image_ids(post: Post) -> tuple[str, ...]:
    return tuple(f"image_{number}" for number in range(1, post.images + 1))


def _formats(post: Post) -> set[str]:
    listed = {item.format_id for item in post.renditions}
    return listed | ({"play"} if post.play else set()) | ({"download"} if post.download else set())
