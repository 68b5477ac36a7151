"""Posts: identity, metadata, formats, and the sources of their bytes."""

from typing import Literal

import msgspec

from schemas.codec import Moment
from schemas.subtitles import SubtitleTrack


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
    """The author of a post."""

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


Protocol = Literal["https", "hls", "dash"]
"""How a file is transferred: whole, or as the segments that an HLS or DASH manifest lists."""


class VideoFormat(msgspec.Struct, frozen=True, kw_only=True):
    """One format in which the platform offers a file of the post.

    Attributes:
        format_id: the extractor's name of the format.
        container: file extension: ``mp4``, ``m4a``, …
        video_codec: ``h264``, ``h265``, …; None without a picture.
        audio_codec: None without sound.
        width: pixels.
        height: pixels.
        bits_per_second: average, if known.
        audio_bits_per_second: average of the sound alone, if known.
        bytes: size, if known.
        duration_seconds: playing time of a song, if known; it may differ from the post's.
        watermarked: the platform marks it as watermarked.
        playable: False for codecs that no common player supports.
        picture: position of a photo post's picture, from 1; None for any other file.
        motion: the moving file of the live photo at that position, or a video of a post with
            several files.
        song: the song that the post names, as a separate file; not the sound of the video.
        protocol: ``hls`` and ``dash`` for the segments of a manifest.
        preference: of sound among others; below 0 another language, a commentary or description.
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
    protocol: Protocol = "https"
    preference: int = 0

    @property
    def smaller_side(self) -> int:
        """Pixels of the smaller side, 0 when unknown: what ``720p`` means for portrait video.

        Of a format with one known side it is that side, as in yt-dlp: sites name the height alone.
        """
        return min(filter(None, (self.width, self.height)), default=0)


class VideoInfo(msgspec.Struct, frozen=True, kw_only=True):
    """All metadata that the platform publishes of a post.

    Attributes:
        content: ``photos`` for a post of pictures, with their music among the formats, and for one
            of several videos and pictures.
        redirected_to: id of the post to which the platform redirects from this one.
        missing_pictures: positions of a photo post's pictures, from 1, for which the page has no
            address.
        subtitles: tracks offered by the page, without machine translations; only listed when the
            page was read for a request with the option ``subtitles``.
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
    subtitles: tuple[SubtitleTrack, ...] = ()
    redirected_to: str | None = None


class Cookie(msgspec.Struct, frozen=True, kw_only=True):
    """A cookie set by a page or owned by an account; some media is served only with one.

    Attributes:
        expires_at: epoch second of its expiry; None for a session cookie.
    """

    name: str
    value: str
    domain: str
    path: str = "/"
    secure: bool = True
    expires_at: float | None = None

    def __repr__(self) -> str:
        """Return name, domain and path without the value, which may grant access to an account."""
        return f"<cookie {self.name} of {self.domain}{self.path}>"


class MediaSource(msgspec.Struct, frozen=True, kw_only=True):
    """Source of the bytes of one format: URL, and the headers and cookies that it requires.

    Attributes:
        url: of the file, or of the manifest that lists its segments.
        representation: id of the format within a DASH manifest.
    """

    format: VideoFormat
    url: str
    headers: dict[str, str] = {}
    cookies: tuple[Cookie, ...] = ()
    representation: str | None = None


class SelectedSource(MediaSource, frozen=True, kw_only=True):
    """The source of one file of a result.

    Attributes:
        sound_only: only the sound is stored, extracted from the download without transcoding.
        tagged: metadata of the post is embedded.
        sound_from: another format of the post, whose sound is joined to the picture of this one.
    """

    sound_only: bool = False
    tagged: bool = False
    sound_from: MediaSource | None = None

    @property
    def format_id(self) -> str:
        """Id of the format in results: the page's, or ``A+B`` for a joined file."""
        return joined_id(self.format, self.sound_from.format if self.sound_from else None)

    @property
    def file_id(self) -> str:
        """Id of the stored file within its post; sound and tagged files are files of their own."""
        return f"{self.format_id}{'~sound' * self.sound_only}{'~tagged' * self.tagged}"


JOIN = "+"
"""Separator of the two format ids of a joined file. No id contains it."""


def joined_id(picture: VideoFormat, sound: VideoFormat | None) -> str:
    """Return the format id of a file joined from these formats."""
    return picture.format_id + (f"{JOIN}{sound.format_id}" if sound else "")


class EngineVersions(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of the engine's libraries, which decide whether a platform can be read."""

    yt_dlp: str
    curl_cffi: str


class Extraction(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's output for a video's page. ``raw`` is the extractor's dictionary, opaque.

    Attributes:
        subtitles: the extractor was asked for subtitles; otherwise they are unknown.
    """

    raw: msgspec.Raw
    engine: EngineVersions
    extracted_at: Moment
    cookies: tuple[Cookie, ...] = ()
    subtitles: bool = False


MEDIA_TYPES = {
    "3gp": "video/3gpp",
    "aac": "audio/aac",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "flac": "audio/flac",
    "flv": "video/x-flv",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "mkv": "video/matroska",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "png": "image/png",
    "ts": "video/mp2t",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webp": "image/webp",
}
"""By file extension, as registered with IANA, else as browsers know them."""

CONTAINERS = frozenset(MEDIA_TYPES)
"""Values of `VideoFormat.container`: the file extensions that a stored file may have.

The page names the extension, and web servers derive the media type from it. Types that a browser
runs or renders as a page, such as ``html`` and ``svg``, are excluded.
"""

DEFAULT_CONTAINER = "mp4"
"""Container for any other or a missing extension: by far the most videos are MP4."""


def container_of(declared: str | None) -> str:
    """Return the container that a page declares if it is allowed, else `DEFAULT_CONTAINER`."""
    extension = (declared or "").lower()
    return extension if extension in CONTAINERS else DEFAULT_CONTAINER
