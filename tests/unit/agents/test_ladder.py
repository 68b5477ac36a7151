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
    in_document,
    play,
    rows,
    table,
)

ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.what}-{row.post}")
async def test_what_is_tried_is_what_the_table_says(row: Row) -> None:
    assert await play(row) == row


def test_the_document_has_the_table() -> None:
    document = DOCUMENT.read_text()
    assert len(ROWS) >= 40
    assert in_document(document, table(ROWS)) == document


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
async def test_every_ladder_ends_and_tries_no_file_over_and_over(
    post: str, faults: list[Fault], options: Options, cached: bool
) -> None:
    row = Row(what="any", post=post, faults=tuple(faults), options=options, cached=cached)
    played = await play(row)
    # A fresh page is one more try; a file that was found silent may be taken as it is at last.
    assert all(times <= 3 for times in Counter(played.tried).values())
    assert played.pages <= PAGE_READS_MAX
