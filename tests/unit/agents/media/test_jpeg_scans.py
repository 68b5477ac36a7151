import io
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.media import jpeg_scans
from agents.media.facts import MediaFacts, Unreadable
from agents.media.jpeg_scans import SCANS_MAX, has_too_many_scans
from agents.media.reading import read_facts
from tests.unit.agents.media.files import PICTURE, VIDEO, content, progressive_jpeg

BOMB_SIDE, BOMB_SCANS = 9_990, 3_000


@pytest.mark.parametrize(
    ("body", "too_many"),
    [
        (b"", False),
        (b"\xff", False),
        (content(PICTURE), False),
        (content(VIDEO), False),
        (progressive_jpeg(0), False),
        (progressive_jpeg(9), False),
        (progressive_jpeg(SCANS_MAX - 1), False),
        (progressive_jpeg(SCANS_MAX), True),
        (progressive_jpeg(3_000), True),
        (progressive_jpeg(9) + b"\xff\xda" * 1_000, False),
        (b"x" + progressive_jpeg(3_000), False),
    ],
    ids=[
        *("empty", "a byte", "a picture", "a video", "one scan", "ten", "the maximum"),
        *("one more", "thousands", "markers behind the end", "no JPEG"),
    ],
)
def test_picture_with_too_many_scans_is_detected(body: bytes, *, too_many: bool) -> None:
    file = io.BytesIO(body)
    assert has_too_many_scans(file) is too_many
    assert file.tell() == 0


@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_scans_of_any_number_of_components_are_counted(components: int) -> None:
    scan = bytes([0xFF, 0xDA, 0, 6 + 2 * components, components])
    assert has_too_many_scans(io.BytesIO(b"\xff\xd8" + scan * (SCANS_MAX + 1)))


@given(st.integers(1, 40))
@settings(deadline=None)
def test_scans_across_chunk_boundaries_are_counted(chunk_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jpeg_scans, "_CHUNK_BYTES", chunk_bytes)
        assert not has_too_many_scans(io.BytesIO(progressive_jpeg(SCANS_MAX - 1)))
        assert has_too_many_scans(io.BytesIO(progressive_jpeg(SCANS_MAX)))


def test_search_stops_at_the_byte_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    head = progressive_jpeg(0)
    monkeypatch.setattr(jpeg_scans, "_CHUNK_BYTES", 1_000)
    monkeypatch.setattr(jpeg_scans, "SEARCHED_BYTES_MAX", 10_000)
    assert not has_too_many_scans(io.BytesIO(head + bytes(20_000) + progressive_jpeg(SCANS_MAX)))


def test_picture_with_too_many_scans_is_not_decoded() -> None:
    started = time.process_time()
    found = read_facts(io.BytesIO(progressive_jpeg(BOMB_SCANS, BOMB_SIDE)))
    assert time.process_time() - started < 3
    assert found == Unreadable(reason="a picture in more than 100 scans")
    assert read_facts(io.BytesIO(progressive_jpeg(9))) == MediaFacts(
        container="jpeg", video_codec="jpeg", width=64, height=64
    )
