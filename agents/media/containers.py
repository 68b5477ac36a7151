"""File extension by the container and codecs of a file. Pure.

Browsers and players rely on the extension, and pages and URLs are often wrong about it: TikTok has
MP3 songs that the page calls M4A, and JPEG pictures at a URL that ends in ``.webp``.
"""

from collections.abc import Mapping

from agents.media.protocol import MediaFacts

_STILLS = {"heic": "heic", "heix": "heic", "mif1": "heif", "avif": "avif", "avis": "avif"}
"""Extension by the brand of an ISO file with a picture (ISO/IEC 23008-12, annex B)."""

_QUICKTIME = "qt"
_WEBM_CODECS = frozenset({None, "vp8", "vp9", "av1", "opus", "vorbis"})

_INTERCHANGEABLE: Mapping[str, frozenset[str]] = {
    "video": frozenset({"mp4", "m4v", "mov", "3gp"}),
    "sound": frozenset({"m4a", "3gp"}),
    "matroska": frozenset({"mkv", "webm"}),
    "ogg": frozenset({"ogg", "oga", "ogv", "opus"}),
    "jpeg": frozenset({"jpeg", "jpg"}),
}
"""Interchangeable extensions: the page's is kept if it is one of them."""

_SINGLE: Mapping[str, str] = {
    **{each: each for each in ("aac", "bmp", "flac", "flv", "gif", "mp3", "png", "wav", "webp")},
    "mpegts": "ts",
}
"""Extension of containers with a single one."""


def extension_of(facts: MediaFacts, named: str) -> str:
    """Return the extension of a file: `named` if it fits the content, else the correct one.

    Args:
        facts: of the file.
        named: extension of the page or the URL.
    """
    match facts.container:
        case "mov":
            return _iso(facts, named)
        case "matroska":
            return _matroska(facts, named)
        case "ogg":
            return _keep_or("ogg", named, "ogv" if facts.video_codec else "ogg")
        case "jpeg":
            return _keep_or("jpeg", named, "jpeg")
    return _SINGLE.get(facts.container or "", named)


def _iso(facts: MediaFacts, named: str) -> str:
    brand = (facts.brand or "").strip()
    if brand in _STILLS:
        return _STILLS[brand]
    if brand == _QUICKTIME:
        return "mov"
    if facts.video_codec is None:
        return _keep_or("sound", named, "m4a")
    return _keep_or("video", named, "mp4")


def _matroska(facts: MediaFacts, named: str) -> str:
    if facts.video_codec is None and facts.audio_codec in _WEBM_CODECS:
        return "weba"
    fits_webm = {facts.video_codec, facts.audio_codec} <= _WEBM_CODECS
    if named == "webm" and not fits_webm:
        return "mkv"
    return _keep_or("matroska", named, "webm" if fits_webm else "mkv")


def _keep_or(kind: str, named: str, default: str) -> str:
    return named if named in _INTERCHANGEABLE[kind] else default
