import io
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.media import jpeg_scans
from agents.media.facts import MediaFacts, Unreadable
from agents.media.jpeg_scans import SCANS_MAX, has_too_many_scans
from agents.media.reading import read_facts
from tests.unit.agents.media.files import PICTURE, VIDEO, content, progressive

BOMB_SIDE, BOMB_SCANS = 9_990, 3_000


@pytest.mark.parametrize(
    ("body", "too_many"),
    [
        (b"", False),
        (b"\xff", False),
        (content(PICTURE), False),
        (content(VIDEO), False),
        (progressive(0), False),
        (progressive(9), False),
        (progressive(SCANS_MAX - 1), False),
        (progressive(SCANS_MAX), True),
        (progressive(3_000), True),
        (progressive(9) + b"\xff\xda" * 1_000, False),
        (b"x" + progressive(3_000), False),
    ],
    ids=[
        *("empty", "a byte", "a picture", "a video", "one scan", "ten", "as many as may be"),
        *("one more", "thousands", "like it by chance behind it", "no JPEG"),
    ],
)
def test_pictures_in_too_many_scans(body: bytes, *, too_many: bool) -> None:
    file = io.BytesIO(body)
    assert has_too_many_scans(file) is too_many
    assert file.tell() == 0


@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_scans_of_any_number_of_components_count(components: int) -> None:
    scan = bytes([0xFF, 0xDA, 0, 6 + 2 * components, components])
    assert has_too_many_scans(io.BytesIO(b"\xff\xd8" + scan * (SCANS_MAX + 1)))


@given(st.integers(1, 40))
@settings(deadline=None)
def test_a_scan_counts_wherever_the_file_is_divided(piece_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jpeg_scans, "_PIECE_BYTES", piece_bytes)
        assert not has_too_many_scans(io.BytesIO(progressive(SCANS_MAX - 1)))
        assert has_too_many_scans(io.BytesIO(progressive(SCANS_MAX)))


def test_no_more_is_searched_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    head = progressive(0)
    monkeypatch.setattr(jpeg_scans, "_PIECE_BYTES", 1_000)
    monkeypatch.setattr(jpeg_scans, "SEARCHED_BYTES_MAX", 10_000)
    assert not has_too_many_scans(io.BytesIO(head + bytes(20_000) + progressive(SCANS_MAX)))


def test_what_is_refused_is_not_decoded_and_what_is_not_is() -> None:
    started = time.process_time()
    found = read_facts(io.BytesIO(progressive(BOMB_SCANS, BOMB_SIDE)))
    assert time.process_time() - started < 3
    assert found == Unreadable(reason="a picture in more than 100 scans")
    assert read_facts(io.BytesIO(progressive(9))) == MediaFacts(
        container="jpeg", video_codec="jpeg", width=64, height=64
    )
