"""Allow-list of the file extensions of stored files, with their media types.

The extension is chosen by the page, and web servers derive the media type from it. Types that a
browser runs or renders as a page, such as ``html`` and ``svg``, are excluded, so that no page can
have its file served as one.
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
"""By file extension, as registered with IANA, else as browsers know them."""

CONTAINERS = frozenset(MEDIA_TYPES)
"""Values of `schemas.video.VideoFormat.container` that a stored file may have."""

DEFAULT_CONTAINER = "mp4"
"""Container for any other or a missing extension: by far the most videos are MP4."""


def container_of(declared: str | None) -> str:
    """Return the container that a page declares if it is allowed, else `DEFAULT_CONTAINER`."""
    extension = (declared or "").lower()
    return extension if extension in CONTAINERS else DEFAULT_CONTAINER
