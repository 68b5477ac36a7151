"""The shape of a media file: kind, codec, size and duration, derived from post and format."""

from dataclasses import dataclass, replace
from typing import Literal

from tests.standin.item import MOTION_SECONDS, dimensions
from tests.standin.posts import DOWNLOAD, DURATION_SECONDS, MOTION, PLAY, RENDITIONS, Post
from tests.standin.scenarios import Case

Kind = Literal["video", "sound", "picture", "page"]
PICTURE_SIZE = (1080, 1440)
# Small enough to fit into the smallest cover.
COVER_SIZE = (540, 720)
_MEDIA_TYPES = {
    "video": "video/mp4",
    "sound": "audio/mp4",
    "picture": "image/jpeg",
    "page": "video/mp4",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The content of a file.

    Attributes:
        kind: ``page`` is an HTML page declared as a video.
        codec: Of the video: ``h264`` or ``h265``.
        width: In pixels.
        height: In pixels.
        seconds: Duration.
        sound: Whether a video has sound.
    """

    kind: Kind
    codec: str = ""
    width: int = 0
    height: int = 0
    seconds: int = DURATION_SECONDS
    sound: bool = True

    @property
    def smaller_side(self) -> int:
        return min(self.width, self.height)

    @property
    def media_type(self) -> str:
        """The Content-Type that the stand-in declares."""
        return _MEDIA_TYPES[self.kind]


SOUND = Shape("sound")


def shape_of(post: Post, format_id: str) -> Shape:
    """The shape of one of the post's media."""
    if format_id == "audio":
        return replace(SOUND, seconds=post.song_seconds)
    if format_id == "cover":
        return Shape("picture", width=COVER_SIZE[0], height=COVER_SIZE[1])
    if format_id.startswith("image_"):
        return Shape("picture", width=PICTURE_SIZE[0], height=PICTURE_SIZE[1])
    if format_id == MOTION:
        return Shape("video", "h264", 720, 960, seconds=MOTION_SECONDS, sound=False)
    return _video(post, format_id)


def damaged(shape: Shape, case: Case) -> Shape:
    """The shape modified by a case of the surface ``media``."""
    match case.scenario.name:
        case "media.html":
            return Shape("page")
        case "media.short":
            return replace(shape, seconds=case.value)
        case "media.soundonly":
            return replace(SOUND, seconds=shape.seconds)
        case "media.mute" if shape.kind == "video" and shape.smaller_side >= case.value:
            return replace(shape, sound=False)
    return shape


def _video(post: Post, format_id: str) -> Shape:
    rendition = next((item for item in RENDITIONS if item.format_id == format_id), None)
    if rendition is None:
        assert format_id in {PLAY.format_id, DOWNLOAD.format_id}
        return Shape("video", "h264", post.width, post.height, sound=not post.is_mute(format_id))
    width, height = dimensions(post, rendition)
    # H.266 is never fetched; no encoder for it is available.
    codec = "h264" if rendition.codec == "h264" else "h265"
    return Shape("video", codec, width, height, sound=not post.is_mute(format_id))
