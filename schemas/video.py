"""What a post is: its name, its description, its files and where their bytes are."""

from typing import Literal

import msgspec

from schemas.codec import Moment


class VideoRef(msgspec.Struct, frozen=True, kw_only=True):
    """The canonical name of one video; ``url`` is the canonical page."""

    platform: str
    id: str
    url: str

    @property
    def key(self) -> str:
        """Key on every topic and in every cache: ``tiktok:7608826249200356630``."""
        return f"{self.platform}:{self.id}"


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who published it."""

    id: str | None = None
    name: str | None = None
    display_name: str | None = None
    url: str | None = None


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts as the platform showed them when the page was read."""

    views: int | None = None
    likes: int | None = None
    comments: int | None = None
    reposts: int | None = None
    saves: int | None = None


class VideoFormat(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which the platform offers the video.

    Attributes:
        format_id: the extractor's name for it.
        container: file extension: ``mp4``, ``m4a``, …
        video_codec: ``h264``, ``h265``, …; None without a picture.
        audio_codec: None without sound.
        width: pixels.
        height: pixels.
        bits_per_second: average, when told.
        audio_bits_per_second: average of its sound alone, when told.
        bytes: size, when told.
        duration_seconds: of a song how long it plays, when told: the post may play another time.
        watermarked: the platform says that it is.
        playable: False for codecs that no common player knows.
        picture: of a photo post's picture its place in the post, from 1; None for all else.
        motion: it is the moving file of the live photo at that place.
        song: it is the song that the post names, as a file of its own; not the sound of the video.
    """

    format_id: str
    container: str
    video_codec: str | None = None
    audio_codec: str | None = None
    width: int | None = None
    height: int | None = None
    bits_per_second: int | None = None
    audio_bits_per_second: int | None = None
    bytes: int | None = None
    duration_seconds: float | None = None
    watermarked: bool = False
    playable: bool = True
    picture: int | None = None
    motion: bool = False
    song: bool = False

    @property
    def smaller_side(self) -> int:
        """Pixels of the smaller side, 0 when unknown: what ``720p`` means for portrait video."""
        return min(self.width or 0, self.height or 0)


class VideoInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the platform tells about a post.

    Attributes:
        content: ``photos`` for a post of pictures, with their music among the formats.
        redirected_to: id of the post that the platform leads to in place of this one.
        missing_pictures: places of a photo post's pictures, from 1, for which the page has no
            address.
    """

    platform: str
    id: str
    url: str
    title: str
    content: Literal["video", "photos"] = "video"
    description: str | None = None
    author: Author = Author()
    statistics: Statistics = Statistics()
    published_at: Moment | None = None
    duration_seconds: float | None = None
    thumbnail_url: str | None = None
    missing_pictures: tuple[int, ...] = ()
    formats: tuple[VideoFormat, ...] = ()
    redirected_to: str | None = None


class Cookie(msgspec.Struct, frozen=True, kw_only=True):
    """A cookie that a page set, or that an account has; some media is served only with one.

    Attributes:
        expires_at: epoch second of its end; None for the end of the session.
    """

    name: str
    value: str
    domain: str
    path: str = "/"
    secure: bool = True
    expires_at: float | None = None

    def __repr__(self) -> str:
        """Return whose cookie it is, without its value: that may open an account."""
        return f"<cookie {self.name} of {self.domain}{self.path}>"


class MediaSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bytes of one format are, and what to send along to get them."""

    format: VideoFormat
    url: str
    headers: dict[str, str] = {}
    cookies: tuple[Cookie, ...] = ()


class SelectedSource(MediaSource, frozen=True, kw_only=True):
    """What is fetched for one file of a result.

    Attributes:
        sound_only: the sound is kept, taken out of what is fetched without transcoding.
        sound_from: another format of the post, whose sound is joined to the picture of this one.
    """

    sound_only: bool = False
    sound_from: MediaSource | None = None

    @property
    def format_id(self) -> str:
        """The name of the format in results: that of the page, or ``A+B`` of a joined file."""
        return joined_id(self.format, self.sound_from.format if self.sound_from else None)

    @property
    def file_id(self) -> str:
        """The name of the kept file among those of its post: its sound is another one."""
        return self.format_id + ("~sound" if self.sound_only else "")


JOIN = "+"
"""Between the ids of two formats in the name of a joined file. No id contains it."""


def joined_id(picture: VideoFormat, sound: VideoFormat | None) -> str:
    """Return the name of a file with the picture and sound of these formats."""
    return picture.format_id + (f"{JOIN}{sound.format_id}" if sound else "")


class EngineVersions(msgspec.Struct, frozen=True, kw_only=True):
    """Versions that decide whether a platform can be read."""

    yt_dlp: str
    curl_cffi: str


class Extraction(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine read from a video's page. ``raw`` is the extractor's dictionary, opaque."""

    raw: msgspec.Raw
    engine: EngineVersions
    extracted_at: Moment
    cookies: tuple[Cookie, ...] = ()
