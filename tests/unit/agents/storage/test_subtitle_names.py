import re
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.storage.local import LocalStorage
from agents.storage.names import FileIds, extensions_of, file_name, subtitles_id
from agents.storage.post_paths import PostDetails, PostRecord, post_stem
from schemas.path_template import parse_template
from schemas.subtitles import SubtitleFormat

VIDEO = "7608826249200356630"
HOSTILE = [
    "../../etc/passwd",
    "..",
    ".",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "en.vtt",
    "en~x",
    "~captions~en",
    "\u202een",
    "\u212a\u017f\u0130" * 8,
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "e" * 10_000,
    "a\0b",
    "a\nb",
    "C:en",
    "con ",
    "\udcff",
    "",
]


def name_of(
    language: str,
    *,
    automatic: bool = False,
    media: str = "720p",
    extension: SubtitleFormat = "vtt",
) -> str:
    format_id = subtitles_id(media, language, extension, automatic=automatic)
    return str(file_name(FileIds("tiktok", VIDEO, format_id), extension))


@pytest.mark.parametrize(
    ("language", "automatic", "suffix"),
    [
        ("en", False, "en"),
        ("en-US", False, "en-US"),
        ("zh-Hans-CN", False, "zh-Hans-CN"),
        ("en", True, "en-x-auto"),
    ],
)
def test_subtitles_are_named_after_media_and_language(
    language: str, automatic: bool, suffix: str
) -> None:
    assert name_of(language, automatic=automatic) == f"tiktok/{VIDEO}/{VIDEO}.720p.{suffix}.vtt"


def test_automatic_subtitles_never_have_the_name_of_others() -> None:
    assert name_of("en-x-auto") != name_of("en", automatic=True)


@pytest.mark.parametrize("language", HOSTILE)
def test_hostile_language_stays_in_the_directory_of_the_post(language: str) -> None:
    name = name_of(language)
    pattern = rf"tiktok/{VIDEO}/{VIDEO}\.720p\.[A-Za-z0-9_-]*~[0-9a-f]{{16}}\.vtt"
    assert re.fullmatch(pattern, name)


LANGUAGES = st.text(max_size=80) | st.sampled_from(HOSTILE) | st.from_regex(r"[a-z]{2}-x-auto")
MEDIA = st.text(max_size=90) | st.from_regex(r"[a-z0-9]{1,64}(~sound)?(~tagged)?", fullmatch=True)
TEMPLATES = (
    "{platform}/{id}/{id}.{format}.{ext}",
    "{author}/{title} [{platform} {id}].{format}.{ext}",
    "{format}/{author} {date}/{title} [{platform}.{id}].{ext}",
    "{format}.{id}.{platform}.{title}.{ext}",
)


@given(st.lists(st.tuples(MEDIA, LANGUAGES, st.booleans()), min_size=2, max_size=8, unique=True))
def test_different_subtitles_never_share_a_name(parts: list[tuple[str, str, bool]]) -> None:
    names = {
        name_of(language, automatic=automatic, media=media) for media, language, automatic in parts
    }
    assert len(names) == len(parts)
    for each in names:
        assert re.fullmatch(rf"tiktok/{VIDEO}/{VIDEO}\.[A-Za-z0-9_~-]+\.[A-Za-z0-9_~-]+\.vtt", each)
        assert len(each.rpartition("/")[2]) < 255


@pytest.mark.parametrize("template", TEMPLATES)
@given(media=MEDIA, language=LANGUAGES, automatic=st.booleans(), title=st.text())
def test_path_of_a_template_stays_in_the_root(
    template: str, media: str, language: str, automatic: bool, title: str
) -> None:
    details = PostDetails(author="a", title=title * 20)
    record = PostRecord.of(parse_template(template), details)
    format_id = subtitles_id(media, language, "srt", automatic=automatic)
    path = PurePosixPath(f"{post_stem(record, FileIds('tiktok', VIDEO, format_id))}.srt")
    assert not path.is_absolute()
    assert all(part not in {".", ".."} and "/" not in part for part in path.parts)
    assert max(len(part.encode()) for part in path.parts) <= 255


@pytest.mark.parametrize("media", ["720p", "137+140", "x" * 200])
def test_stem_of_the_media_is_kept(media: str) -> None:
    stem = str(file_name(FileIds("tiktok", VIDEO, media), "mp4")).removesuffix(".mp4")
    assert name_of("en", media=media) == f"{stem}.en.vtt"


async def test_subtitles_are_found_by_language_and_format(tmp_path: Path) -> None:
    async with LocalStorage.open(tmp_path) as storage:
        ids = {
            language: subtitles_id("720p", language, "vtt", automatic=False)
            for language in ("en", "en-US")
        }
        async with storage.workspace() as directory:
            (directory / "a").write_bytes(b"WEBVTT")
            uri = await storage.publish(
                directory / "a",
                platform="tiktok",
                video_id=VIDEO,
                format_id=ids["en"],
                extension="vtt",
                sha256="0" * 64,
            )
        others = [ids["en-US"], subtitles_id("720p", "en", "srt", automatic=False), "720p"]
        found = await storage.find(platform="tiktok", video_id=VIDEO, format_id=ids["en"])
        assert found is not None
        assert found.uri == uri
        for each in others:
            assert await storage.find(platform="tiktok", video_id=VIDEO, format_id=each) is None


def test_subtitles_have_the_extension_of_their_format() -> None:
    assert list(extensions_of(subtitles_id("a", "en", "srt", automatic=True))) == ["srt"]
    assert "mp4" in extensions_of("720p")
