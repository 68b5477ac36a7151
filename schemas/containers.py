"""Which file extensions a finished file may have, and the media type of each.

Pages say what their files are called, and web servers tell browsers what a file is by its
extension. What may be run or shown as a page, such as ``html`` and ``svg``, is not among these, so
no page chooses that its file be such.
"""

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
"""By file extension, as IANA registers them, or as browsers know them where it does not."""

CONTAINERS = frozenset(MEDIA_TYPES)
"""What `schemas.video.VideoFormat.container` may be, for a file to be stored."""

DEFAULT_CONTAINER = "mp4"
"""Of a file that is called otherwise, or not at all: by far the most videos are one."""


def container_of(told: str | None) -> str:
    """Return what a page says that the container is, when it is one; else `DEFAULT_CONTAINER`."""
    extension = (told or "").lower()
    return extension if extension in CONTAINERS else DEFAULT_CONTAINER
