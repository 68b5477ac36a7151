"""Which file extension fits what is in a file. Pure.

Browsers and players go by the extension, and pages and addresses are often wrong about it: TikTok
has MP3 songs that the page calls M4A, and JPEG pictures under an address that ends in ``.webp``.
"""

from collections.abc import Mapping

from agents.media.facts import MediaFacts

_STILLS = {"heic": "heic", "heix": "heic", "mif1": "heif", "avif": "avif", "avis": "avif"}
"""Extensions by the brand of an ISO file that holds a picture (ISO/IEC 23008-12, annex B)."""

_QUICKTIME = "qt"
_WEBM_CODECS = frozenset({None, "vp8", "vp9", "av1", "opus", "vorbis"})

_FITTING: Mapping[str, frozenset[str]] = {
    "video": frozenset({"mp4", "m4v", "mov", "3gp"}),
    "sound": frozenset({"m4a", "3gp"}),
    "matroska": frozenset({"mkv", "webm"}),
    "ogg": frozenset({"ogg", "oga", "ogv", "opus"}),
    "jpeg": frozenset({"jpeg", "jpg"}),
}
"""Extensions that are as good as one another: the one that the page names is kept."""

_OWN: Mapping[str, str] = {
    **{each: each for each in ("aac", "bmp", "flac", "flv", "gif", "mp3", "png", "wav", "webp")},
    "mpegts": "ts",
}
"""Extensions of containers that have but one."""


def extension_of(facts: MediaFacts, named: str) -> str:
    """Return the extension of a file: the one that was named if it fits, another if it does not.

    Args:
        facts: what is in the file.
        named: what the page or the address calls it.
    """
    match facts.container:
        case "mov":
            return _iso(facts, named)
        case "matroska":
            return _matroska(facts, named)
        case "ogg":
            return _kept("ogg", named, "ogv" if facts.video_codec else "ogg")
        case "jpeg":
            return _kept("jpeg", named, "jpeg")
    return _OWN.get(facts.container or "", named)


def _iso(facts: MediaFacts, named: str) -> str:
    brand = (facts.brand or "").strip()
    if brand in _STILLS:
        return _STILLS[brand]
    if brand == _QUICKTIME:
        return "mov"
    if facts.video_codec is None:
        return _kept("sound", named, "m4a")
    return _kept("video", named, "mp4")


def _matroska(facts: MediaFacts, named: str) -> str:
    if facts.video_codec is None and facts.audio_codec in _WEBM_CODECS:
        return "weba"
    fits_webm = {facts.video_codec, facts.audio_codec} <= _WEBM_CODECS
    if named == "webm" and not fits_webm:
        return "mkv"
    return _kept("matroska", named, "webm" if fits_webm else "mkv")


def _kept(kind: str, named: str, default: str) -> str:
    return named if named in _FITTING[kind] else default
