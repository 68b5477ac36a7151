from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.recovery.retry_policy import PAGE_READS_MAX
from schemas.errors import ErrorCode
from schemas.request import Options
from tests.unit.agents.ladder import (
    DOCUMENT,
    POSTS,
    Fault,
    Row,
    play,
    rows,
    table,
    with_table,
)

ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.what}-{row.post}")
async def test_row_of_the_ladder_is_reproduced(row: Row) -> None:
    assert await play(row) == row


def test_document_has_the_current_table() -> None:
    document = DOCUMENT.read_text()
    assert len(ROWS) >= 40
    assert with_table(document, table(ROWS)) == document


NAMES = sorted({each.format_id for formats in POSTS.values() for each in formats})
FAULTS = st.builds(
    Fault,
    files=st.sampled_from([*NAMES, "*", "*-0", "h264_*", "h265_*", "*_1080-*", "*+*"]),
    code=st.sampled_from(
        [
            ErrorCode.CONTENT_LINK_EXPIRED,
            ErrorCode.CONTENT_DAMAGED,
            ErrorCode.CONTENT_NO_SOUND,
            ErrorCode.CONTENT_GEO_BLOCKED,
            ErrorCode.CONTENT_UNSUPPORTED,
            ErrorCode.REQUEST_TOO_LARGE,
        ]
    ),
    pages=st.integers(0, 1),
    times=st.integers(0, 3),
)
OPTIONS = st.builds(
    Options,
    quality=st.sampled_from(["best", "1080p", "720p", "360p", "worst"]),
    codec=st.sampled_from(["any", "h264", "h265"]),
    audio_only=st.booleans(),
    watermark=st.sampled_from(["avoid", "allow"]),
    degrade=st.booleans(),
)


@settings(max_examples=60)
@given(
    post=st.sampled_from(sorted(POSTS)),
    faults=st.lists(FAULTS, max_size=5),
    options=OPTIONS,
    cached=st.booleans(),
)
async def test_every_ladder_terminates_and_bounds_the_tries_of_a_file(
    post: str, faults: list[Fault], options: Options, cached: bool
) -> None:
    row = Row(what="any", post=post, faults=tuple(faults), options=options, cached=cached)
    played = await play(row)
    # A fresh page allows one more try, as does accepting a silent file at last.
    assert all(times <= 3 for times in Counter(played.tried).values())
    assert played.pages <= PAGE_READS_MAX
