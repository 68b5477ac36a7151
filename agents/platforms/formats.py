"""Lists the downloadable files of a page, from the dictionary of any yt-dlp extractor.

Extractors omit what yt-dlp infers later: a single file is described by the dictionary itself
instead of ``formats``, and container and protocol may be missing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, urlsplit

from agents.platforms.fields import (
    MAX_COUNT,
    MAX_URL_CHARACTERS,
    Fields,
    https_url,
    integer,
    number,
    objects,
    text,
)
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import Cookie, MediaSource, Protocol, VideoFormat, VideoRef, container_of

MAX_FORMATS = 200
MAX_PREFERENCE = 100
MAX_REPRESENTATION_CHARACTERS = 200
UNKNOWN_CODEC = "unknown"
"""Codec of a file that has video or audio, but does not name its codec."""

_PROTOCOLS: Mapping[str, Protocol] = {
    "http": "https",
    "https": "https",
    "m3u8": "hls",
    "m3u8_native": "hls",
    "http_dash_segments": "dash",
}
"""yt-dlp's names of the protocols that can be fetched."""

_MANIFEST_EXTENSIONS: Mapping[str, str] = {
    "m3u8": "m3u8",
    "mpd": "http_dash_segments",
    "f4m": "f4m",
    "ism": "ism",
}
"""yt-dlp's protocol by the extension of a manifest, for entries that do not name it."""

AUDIO_EXTENSIONS = frozenset({"aac", "flac", "m4a", "mp3", "oga", "ogg", "opus", "wav", "weba"})
"""Extensions of files without video."""

_CODECS = (
    ("avc", "h264"),
    ("h264", "h264"),
    ("hev1", "h265"),
    ("hvc1", "h265"),
    ("hevc", "h265"),
    ("h265", "h265"),
    ("vp09", "vp9"),
    ("vp9", "vp9"),
    ("vp08", "vp8"),
    ("av01", "av1"),
    ("mp4a", "aac"),
    ("aac", "aac"),
)
"""Prefixes of codec names (RFC 6381, ffmpeg), and the names in `VideoFormat`."""

_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"
"""Characters that a URL may hold unescaped (RFC 3986), and the ``%`` of existing escapes."""

_HEADERS = ("Referer", "Origin", "User-Agent", "Accept", "Accept-Language")
_MAX_HEADER_CHARACTERS = 2_048


def read_sources(fields: Fields, cookies: tuple[Cookie, ...] = ()) -> tuple[MediaSource, ...]:
    """Return every downloadable file with its URL, in the extractor's order.

    The URL of an HLS or DASH format is its manifest's. Files protected by DRM and other kinds of
    streams are left out.

    Args:
        fields: info dictionary of the extractor.
        cookies: cookies that the page set. They are filtered by host at the time of a request.
    """
    listed = [entry for entry in _listed_files(fields) if _rejection_reason(entry) is None]
    ids = unique_ids([format_id_of(entry, index) for index, entry in enumerate(listed)])
    return tuple(
        MediaSource(
            format=_format(entry, format_id),
            url=_url(entry) or "",
            headers={**media_headers(fields), **media_headers(entry)},
            cookies=cookies,
            representation=_representation(entry),
        )
        for entry, format_id in zip(listed, ids, strict=True)
    )


def no_formats_error(fields: Fields, video: VideoRef, site: str) -> ClipmillError:
    """Return the error of a page without a downloadable file, with every rejection reason."""
    files = _listed_files(fields)
    reasons = sorted({reason for entry in files if (reason := _rejection_reason(entry))})
    reason = "; ".join(reasons) or "its page has no file"
    return ClipmillError(
        ErrorCode.CONTENT_NO_FORMATS,
        f"{site} video {video.id}: {reason}.",
        failure="no_formats",
        reason=reason,
    )


def unique_ids(ids: list[str]) -> list[str]:
    """Return the ids, with duplicates numbered from 0 and ids in use skipped."""
    counts, taken, unique = Counter(ids), set(ids), list[str]()
    for each in ids:
        numbered = each if counts[each] == 1 else _first_free(each, taken)
        taken.add(numbered)
        unique.append(numbered)
    return unique


def _listed_files(fields: Fields) -> list[Fields]:
    listed = objects(fields, "formats", limit=MAX_FORMATS)
    return listed or ([fields] if isinstance(fields.get("url"), str) else [])


def _rejection_reason(entry: Fields) -> str | None:
    """Return why an entry is not a downloadable file, None when it is one."""
    if entry.get("has_drm") is True:
        return "it is protected by DRM"
    protocol = _protocol(entry)
    if protocol is None:
        return "it is offered as a stream, and of those only HLS and DASH are fetched"
    if protocol == "https" and entry.get("fragments"):
        return "its parts are listed without a manifest"
    if protocol == "dash" and _representation(entry) is None:
        return "its DASH manifest was not read by the extractor"
    return None if _url(entry) else "its file has no address that can be fetched"


def _protocol(entry: Fields) -> Protocol | None:
    """Return how a format is transferred, None when it cannot be fetched that way."""
    named = (text(entry, "protocol", limit=40) or "https").lower()
    if named in {"http", "https"}:
        named = _MANIFEST_EXTENSIONS.get(_extension(entry), named)
    return _PROTOCOLS.get(named)


def _representation(entry: Fields) -> str | None:
    """Return the id of a DASH format in its manifest: yt-dlp names the format by it."""
    if _protocol(entry) != "dash" or not isinstance(entry.get("manifest_url"), str):
        return None
    return text(entry, "format_id", limit=MAX_REPRESENTATION_CHARACTERS)


def _url(entry: Fields) -> str | None:
    return fetchable_url(entry.get("manifest_url" if _protocol(entry) == "dash" else "url"))


def fetchable_url(value: object) -> str | None:
    """Return a URL, with http replaced by https: nothing is fetched unencrypted."""
    if not isinstance(value, str) or len(value) > MAX_URL_CHARACTERS:
        return None
    # Extractors pass on the URLs of pages, with spaces and umlauts; yt-dlp encodes them later.
    encoded = quote(value.strip(), safe=_URL_SAFE, errors="replace")
    return https_url({"url": re.sub(r"^http://", "https://", encoded)}, "url")


def _extension(entry: Fields) -> str:
    """Return the extension of the URL's path, in lower case without the dot."""
    try:
        path = urlsplit(str(entry.get("url"))).path
    except ValueError:
        return ""
    # A manifest may be below the extension: `…/video.ism/manifest`.
    found = re.search(r"\.(m3u8|mpd|f4m|ism)(?:/|$)", path, re.IGNORECASE)
    return (found[1] if found else PurePosixPath(path).suffix[1:]).lower()


def _format(entry: Fields, format_id: str) -> VideoFormat:
    container = _container(entry)
    video_codec = None if container in AUDIO_EXTENSIONS else _codec(entry, "vcodec")
    return VideoFormat(
        format_id=format_id,
        container=container,
        video_codec=video_codec,
        audio_codec=_codec(entry, "acodec"),
        width=integer(entry, "width", minimum=1) if video_codec else None,
        height=integer(entry, "height", minimum=1) if video_codec else None,
        bits_per_second=bits_per_second(entry),
        audio_bits_per_second=_per_second(number(entry, "abr") or 0),
        bytes=integer(entry, "filesize", minimum=1),
        watermarked="watermark" in (text(entry, "format_note", limit=100) or "").lower(),
        protocol=_protocol(entry) or "https",
        preference=0 if video_codec else _preference(entry),
    )


def _preference(entry: Fields) -> int:
    """Return the extractor's preference of a sound: by its language, else by its quality."""
    values = (number(entry, name) for name in ("language_preference", "source_preference"))
    found = next((value for value in values if value), 0)
    return round(max(-MAX_PREFERENCE, min(found, MAX_PREFERENCE)))


def _codec(entry: Fields, name: str) -> str | None:
    value = (text(entry, name, limit=40) or UNKNOWN_CODEC).lower()
    known = (codec for prefix, codec in _CODECS if value.startswith(prefix))
    return None if value == "none" else next(known, value.partition(".")[0])


def _container(entry: Fields) -> str:
    return container_of(text(entry, "ext", limit=10) or _extension(entry))


def bits_per_second(entry: Fields) -> int | None:
    """Return the average bitrate: the total if given, otherwise the sum of video and audio."""
    parts = (number(entry, "vbr") or 0) + (number(entry, "abr") or 0)
    return _per_second(number(entry, "tbr") or parts)


def _per_second(kilobits: float) -> int | None:
    # yt-dlp's unit is 1000 bits.
    return round(kilobits * 1000) if 0 < kilobits <= MAX_COUNT / 1000 else None


def media_headers(fields: Fields) -> Mapping[str, str]:
    """Return the request headers that media hosts check, as far as the dictionary sets them."""
    value = fields.get("http_headers")
    pairs = value.items() if isinstance(value, dict) else ()
    named = {name.title(): value for name, value in pairs if _is_header(value)}
    return {name: named[name] for name in _HEADERS if name in named}


def _is_header(value: object) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_HEADER_CHARACTERS
        and value.isascii()
        and value.isprintable()
    )


def format_id_of(entry: Fields, index: int) -> str:
    """Return the format's id, safe as part of a file name; its index when it has none."""
    value = text(entry, "format_id", limit=60) or ""
    return re.sub(r"[^A-Za-z0-9_-]", "_", value) or str(index)


def _first_free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}-{number}" for number in range(len(taken) + 1))
    return next(each for each in numbered if each not in taken)


_EPOCH = re.compile(r"[0-9]{9,11}", re.ASCII)
_EPOCH_PARAMETERS = ("expire", "expires", "x-expires")
"""Epoch seconds; used by many CDNs, CloudFront and Google Cloud (V2) among them."""

_MAX_SECONDS = 7 * 86_400
"""Longest lifetime that AWS Signature Version 4 (S3) allows."""


def read_expiry(sources: Iterable[MediaSource]) -> float | None:
    """Return the epoch second at which the first link expires, None when no link carries it."""
    return min((end for source in sources if (end := _expiry(source.url))), default=None)


def _expiry(url: str) -> float | None:
    parameters = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    for name in _EPOCH_PARAMETERS:
        if _EPOCH.fullmatch(parameters.get(name, "")):
            return float(parameters[name])
    return _signed_expiry(parameters, "x-amz") or _signed_expiry(parameters, "x-goog")


def _signed_expiry(parameters: Mapping[str, str], vendor: str) -> float | None:
    """Return signing date plus lifetime in seconds."""
    ttl = parameters.get(f"{vendor}-expires", "")
    try:
        start = datetime.strptime(parameters.get(f"{vendor}-date", ""), "%Y%m%dT%H%M%S%z")
    except ValueError:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", ttl, re.ASCII) or int(ttl) > _MAX_SECONDS:
        return None
    return start.timestamp() + int(ttl)
