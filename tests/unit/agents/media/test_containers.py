import pytest

from agents.media.containers import extension_of
from agents.media.protocol import MediaFacts
from schemas.video import CONTAINERS


def facts(
    container: str | None, video: str | None, audio: str | None, brand: str = "isom"
) -> MediaFacts:
    return MediaFacts(container=container, brand=brand, video_codec=video, audio_codec=audio)


MP4 = facts("mov", "h264", "aac")
M4A = facts("mov", None, "aac")
MP3 = facts("mp3", None, "mp3")
JPEG = facts("jpeg", "jpeg", None)
WEBM = facts("matroska", "vp9", "opus")
MKV = facts("matroska", "h264", "aac")
SOUND_OF_WEBM = facts("matroska", None, "opus")
SOUND_OF_MKV = facts("matroska", None, "aac")
OGG = facts("ogg", None, "opus")


@pytest.mark.parametrize(
    ("found", "named", "extension"),
    [
        (MP3, "m4a", "mp3"),
        (MP3, "mp3", "mp3"),
        (MP3, "mp4", "mp3"),
        (JPEG, "webp", "jpeg"),
        (JPEG, "heic", "jpeg"),
        (JPEG, "png", "jpeg"),
        (JPEG, "jpg", "jpg"),
        (JPEG, "jpeg", "jpeg"),
        (facts("webp", "webp", None), "jpeg", "webp"),
        (facts("png", "png", None), "jpeg", "png"),
        (facts("gif", "gif", None), "webp", "gif"),
        (facts("bmp", "bmp", None), "jpeg", "bmp"),
        (facts("mov", "h265", None, "heic"), "jpeg", "heic"),
        (facts("mov", "av1", None, "avif"), "jpeg", "avif"),
        (MP4, "mp4", "mp4"),
        (MP4, "m4v", "m4v"),
        (MP4, "mov", "mov"),
        (MP4, "webm", "mp4"),
        (MP4, "m4a", "mp4"),
        (MP4, "jpeg", "mp4"),
        (facts("mov", "h264", "aac", "qt  "), "mp4", "mov"),
        (M4A, "mp3", "m4a"),
        (M4A, "mp4", "m4a"),
        (M4A, "m4a", "m4a"),
        (WEBM, "mp4", "webm"),
        (WEBM, "webm", "webm"),
        (WEBM, "mkv", "mkv"),
        (MKV, "mp4", "mkv"),
        (MKV, "webm", "mkv"),
        (SOUND_OF_WEBM, "webm", "weba"),
        (SOUND_OF_MKV, "weba", "mkv"),
        (OGG, "mp3", "ogg"),
        (OGG, "opus", "opus"),
        (facts("ogg", "theora", None), "mp4", "ogv"),
        (facts("aac", None, "aac"), "m4a", "aac"),
        (facts("flac", None, "flac"), "m4a", "flac"),
        (facts("wav", None, "pcm_s16le"), "m4a", "wav"),
        (facts("mpegts", "h264", "aac"), "mp4", "ts"),
        (facts("flv", "h264", "aac"), "mp4", "flv"),
        (facts("a new one", None, None), "mp4", "mp4"),
        (facts(None, None, None), "m4a", "m4a"),
    ],
)  # fmt: skip
def test_extension_follows_the_content_of_the_file(
    found: MediaFacts, named: str, extension: str
) -> None:
    assert extension_of(found, named) == extension
    assert extension in CONTAINERS
