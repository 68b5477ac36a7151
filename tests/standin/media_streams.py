"""HLS and DASH made by FFmpeg's muxers of movies with known content, and their encryption."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from tests.standin.media_marks import Marked, encode_marked

Files = Mapping[str, bytes]
"""Bodies by file name."""

TS = ("hls_segment_type", "mpegts")
FMP4 = ("hls_segment_type", "fmp4")
SINGLE_FILE = ("hls_flags", "single_file")
_HLS = {"hls_time": "2", "hls_list_size": "0", "hls_playlist_type": "vod"}
_DASH = {"seg_duration": "2"}


@cache
def hls(movie: Marked, *options: tuple[str, str]) -> Files:
    """The playlist ``media.m3u8`` and its segments of two seconds."""
    return _encode(movie, "hls", "media.m3u8", _HLS | dict(options))


@cache
def dash(movie: Marked, *options: tuple[str, str]) -> Files:
    """The manifest ``media.mpd`` and its segments; the picture is representation 0."""
    return _encode(movie, "dash", "media.mpd", _DASH | dict(options))


def _encode(movie: Marked, form: str, name: str, options: dict[str, str]) -> Files:
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        with av.open(str(path), "w", format=form, options=options) as container:
            encode_marked(movie, container)
        return {each.name: each.read_bytes() for each in sorted(Path(folder).iterdir())}


def playlist_of(files: Files) -> str:
    return files["media.m3u8"].decode()


def with_playlist(files: Files, playlist: str) -> Files:
    return {**files, "media.m3u8": playlist.encode()}


def segments_of(files: Files) -> list[str]:
    """The names of the segments, in order."""
    lines = playlist_of(files).splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def encrypt(body: bytes, key: bytes, iv: bytes) -> bytes:
    padder, cipher = PKCS7(128).padder(), Cipher(AES128(key), CBC(iv)).encryptor()
    padded = padder.update(body) + padder.finalize()
    return cipher.update(padded) + cipher.finalize()


def encrypted(files: Files, *, explicit: bool, rotate: bool, first: int = 0) -> Files:
    """Encrypt every segment of a playlist.

    Args:
        files: of the playlist.
        explicit: the playlist states the initialization vectors.
        rotate: each segment has a key of its own.
        first: media sequence number.
    """
    made, lines = dict(files), []
    number = first
    for line in playlist_of(files).splitlines():
        if line.startswith("#EXT-X-MEDIA-SEQUENCE"):
            lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first}")
        elif line.startswith("#EXTINF") and (rotate or number == first):
            lines += [_key_line(number, explicit=explicit), line]
        elif line.startswith("#") or not line:
            lines.append(line)
        else:
            name = f"{number if rotate else first}.key"
            key = made.setdefault(name, f"key of {number:08}....".encode()[:16].ljust(16, b"."))
            vector = _vector(first if explicit and not rotate else number, explicit=explicit)
            made[line] = encrypt(files[line], key, vector)
            lines.append(line)
            number += 1
    return with_playlist(made, "\n".join(lines))


def _key_line(number: int, *, explicit: bool) -> str:
    iv = f",IV=0x{_vector(number, explicit=True).hex()}" if explicit else ""
    return f'#EXT-X-KEY:METHOD=AES-128,URI="{number}.key"{iv}'


def _vector(number: int, *, explicit: bool) -> bytes:
    return (number + (1 << 100) if explicit else number).to_bytes(16, "big")


def renamed(files: Files, prefix: str) -> Files:
    """The same stream with a prefix in front of the names of its segments and initialization."""
    names = [name for name in files if name != "media.m3u8"]
    text = playlist_of(files)
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf'(^|"){re.escape(name)}', rf"\g<1>{prefix}{name}", text, flags=re.MULTILINE)
    bodies = {f"{prefix}{name}": files[name] for name in names}
    return {**bodies, "media.m3u8": text.encode()}


def followed_by(files: Files, other: Files) -> Files:
    """Two streams in one playlist, with a discontinuity between them."""
    head = playlist_of(files).replace("#EXT-X-ENDLIST", "").rstrip()
    tail = playlist_of(renamed(other, "b-")).splitlines()
    kept = [line for line in tail if not line.startswith(_HEAD_TAGS)]
    text = "\n".join([head, "#EXT-X-DISCONTINUITY", *kept])
    return with_playlist({**files, **renamed(other, "b-")}, text)


_HEAD_TAGS = (
    "#EXTM3U",
    "#EXT-X-VERSION",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-PLAYLIST-TYPE",
)
