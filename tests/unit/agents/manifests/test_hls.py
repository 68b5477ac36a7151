"""Segments of HLS playlists. Refusals are in `tests/integration/test_hostile_streams.py`."""

from agents.manifests.hls import parse_hls
from agents.manifests.segments import Resource, Segment, SegmentKey, parts_of
from agents.network.resource import ByteRange

URL = "https://cdn.mine.example/a/media.m3u8?sig=1"


def parse(*lines: str) -> tuple[Segment, ...]:
    return parse_hls("\n".join(["#EXTM3U", *lines, "#EXT-X-ENDLIST"]), URL)


def test_addresses_are_resolved_against_the_playlist() -> None:
    references = ("0.ts", "../1.ts?x=2", "/2.ts", "http://cdn.mine.example/3.ts", "//b.example/4")
    found = parse(*(line for each in references for line in ("#EXTINF:5,", each)))
    assert [each.media.url for each in found] == [
        "https://cdn.mine.example/a/0.ts",
        "https://cdn.mine.example/1.ts?x=2",
        "https://cdn.mine.example/2.ts",
        "https://cdn.mine.example/3.ts",
        "https://b.example/4",
    ]


def test_byte_ranges_continue_each_other() -> None:
    found = parse(
        *("#EXTINF:5,", "#EXT-X-BYTERANGE:10@5", "a", "#EXTINF:5,", "#EXT-X-BYTERANGE:7", "a"),
        *("#EXTINF:5,", "b"),
    )
    assert [each.media.byte_range for each in found] == [ByteRange(5, 14), ByteRange(15, 21), None]


def test_keys_apply_until_the_next_with_vectors_of_their_own() -> None:
    found = parse(
        "#EXT-X-MEDIA-SEQUENCE:7",
        *("#EXTINF:5,", "0"),
        *('#EXT-X-KEY:METHOD=AES-128,URI="k",KEYFORMAT="identity"', "#EXTINF:5,", "1"),
        *("#EXTINF:5,", "2"),
        *('#EXT-X-KEY:METHOD=AES-128, URI="l", IV=0xFf', "#EXTINF:5,", "3"),
        *("#EXT-X-KEY:METHOD=NONE", "#EXTINF:5,", "4"),
    )
    base = "https://cdn.mine.example/a/"
    assert [each.media.key for each in found] == [
        None,
        SegmentKey(url=f"{base}k", iv=(8).to_bytes(16, "big")),
        SegmentKey(url=f"{base}k", iv=(9).to_bytes(16, "big")),
        SegmentKey(url=f"{base}l", iv=(255).to_bytes(16, "big")),
        None,
    ]


def test_parts_begin_at_discontinuities_and_initializations() -> None:
    found = parse(
        *('#EXT-X-MAP:URI="i",BYTERANGE="5@0"', "#EXTINF:2,", "0", "#EXTINF:3,", "1"),
        *("#EXT-X-DISCONTINUITY", "#EXTINF:4,", "2"),
        *('#EXT-X-MAP:URI="j"', "#EXTINF:5.5,title, with a comma", "3"),
    )
    base = "https://cdn.mine.example/a/"
    init = Resource(url=f"{base}i", byte_range=ByteRange(0, 4))
    media = [Resource(url=f"{base}{number}") for number in range(4)]
    parts = parts_of(found)
    assert [part.resources for part in parts] == [
        (init, media[0], media[1]),
        (init, media[2]),
        (Resource(url=f"{base}j"), media[3]),
    ]
    assert [part.seconds for part in parts] == [5.0, 4.0, 5.5]
