import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from agents.network.answers import Answer, Partial, judge
from schemas.errors import ClipmillError, ErrorCode

HOST = "v16.tiktok.com"
ETAG = '"abc"'
DATE = "Mon, 23 Nov 2026 08:00:00 GMT"
NOTHING = Partial()
HALF = Partial(offset=50, validator=ETAG, total=100)


def given_answer(
    status: int, headers: dict[str, str], asked: Partial = NOTHING, max_bytes: int = 1_000
) -> Answer | None:
    return judge(status, CIMultiDict(headers), asked, host=HOST, max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("partial", "headers"),
    [
        (NOTHING, {}),
        (HALF, {"Range": "bytes=50-", "If-Range": ETAG}),
        (Partial(offset=0, validator=ETAG), {}),
        (Partial(offset=50, validator=None), {}),
        (Partial(offset=50, validator=DATE), {"Range": "bytes=50-", "If-Range": DATE}),
    ],
)
def test_the_rest_is_asked_for_only_with_a_validator(
    partial: Partial, headers: dict[str, str]
) -> None:
    assert partial.range_headers() == headers


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": ETAG}, ETAG),
        ({"ETag": ETAG, "Last-Modified": DATE}, ETAG),
        ({"ETag": 'W/"abc"', "Last-Modified": DATE}, DATE),
        ({"ETag": 'W/"abc"'}, None),
        ({"ETag": "abc"}, None),
        ({"ETag": '""'}, None),
        ({"ETag": '"a"b"'}, None),
        ({}, None),
    ],
)
def test_only_strong_validators_count(headers: dict[str, str], validator: str | None) -> None:
    answer = given_answer(200, headers)
    assert answer is not None
    assert answer.partial.validator == validator


@pytest.mark.parametrize(
    ("headers", "total", "delimited"),
    [
        ({"Content-Length": "100"}, 100, True),
        ({"Transfer-Encoding": "chunked"}, None, True),
        ({}, None, False),
        ({"Content-Length": "-1"}, None, False),
        ({"Content-Length": "\u0661"}, None, False),
    ],
)
def test_the_size_is_known_when_told(
    headers: dict[str, str], total: int | None, *, delimited: bool
) -> None:
    answer = given_answer(200, headers)
    assert answer is not None
    assert (answer.partial.total, answer.delimited) == (total, delimited)


@pytest.mark.parametrize(
    ("told", "mime_type"),
    [
        ("video/mp4", "video/mp4"),
        ("Video/MP4; codecs=avc1", "video/mp4"),
        ("application/octet-stream", "application/octet-stream"),
        ("nonsense", None),
        ("video/<script>", None),
        ("", None),
    ],
)
def test_the_media_type_is_kept_when_it_is_one(told: str, mime_type: str | None) -> None:
    answer = given_answer(200, {"Content-Type": told})
    assert answer is not None
    assert answer.mime_type == mime_type


@pytest.mark.parametrize(
    "told",
    [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "text/plain",
        "application/json",
        "application/problem+json",
        "application/xhtml+xml",
        "image/svg+xml",
        "multipart/byteranges; boundary=x",
    ],
)
def test_a_page_in_place_of_media_is_an_expired_link(told: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        given_answer(200, {"Content-Type": told})
    assert caught.value.code is ErrorCode.CONTENT_LINK_EXPIRED


@pytest.mark.parametrize(
    ("told", "coding"),
    [
        ("identity", None),
        ("", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("identity, br", "br"),
        ("x-gzip", "x-gzip"),
        ("deflate", "deflate"),
        ("zstd", "zstd"),
    ],
)
def test_unasked_compression_is_noted(told: str, coding: str | None) -> None:
    answer = given_answer(200, {"Content-Encoding": told, "ETag": ETAG, "Content-Length": "9"})
    assert answer is not None
    assert (answer.coding, answer.delimited) == (coding, True)
    # Offsets and sizes are those of what is sent: nothing of it can be resumed.
    assert answer.partial == (Partial() if coding else Partial(validator=ETAG, total=9))


@pytest.mark.parametrize("told", ["compress", "gzip, gzip", "br, gzip", "none", "aws-chunked"])
def test_an_encoding_that_nobody_knows_is_the_servers_fault(told: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        given_answer(200, {"Content-Encoding": told})
    assert caught.value.code is ErrorCode.NETWORK_SERVER


def test_a_large_file_is_refused_by_its_announcement() -> None:
    assert given_answer(200, {"Content-Length": "100"}, max_bytes=100) is not None
    with pytest.raises(ClipmillError) as caught:
        given_answer(200, {"Content-Length": "100"}, max_bytes=99)
    assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE


def test_the_rest_continues_where_it_broke() -> None:
    answer = given_answer(206, {"Content-Range": "bytes 50-99/100", "ETag": ETAG}, HALF)
    assert answer is not None
    assert answer.partial == HALF


def test_a_total_first_told_with_the_rest_is_kept() -> None:
    asked = Partial(offset=50, validator=ETAG)
    answer = given_answer(206, {"Content-Range": "bytes 50-99/100"}, asked)
    assert answer is not None
    assert answer.partial == Partial(offset=50, validator=ETAG, total=100)


def test_a_whole_answer_to_a_range_starts_from_zero() -> None:
    answer = given_answer(200, {"ETag": '"new"', "Content-Length": "80"}, HALF)
    assert answer is not None
    assert answer.partial == Partial(offset=0, validator='"new"', total=80)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (416, {}),
        (206, {}),
        (206, {"Content-Range": "bytes 49-99/100"}),
        (206, {"Content-Range": "bytes 50-99/101"}),
        (206, {"Content-Range": "chapters 50-99/100"}),
        (206, {"Content-Range": "bytes 50-99/100", "ETag": '"new"'}),
        (206, {"Content-Range": "bytes 50-99/100", "Last-Modified": DATE}),
        (206, {"Content-Range": "bytes 50-100/100"}),
        (206, {"Content-Range": "bytes 50-49/100"}),
        (206, {"Content-Range": "bytes 50-99/100", "Content-Length": "49"}),
        (206, {"Content-Range": "bytes 50-99/100", "Content-Encoding": "gzip"}),
        (200, {"Content-Range": "bytes 49-99/100"}),
        (200, {"Content-Range": "bytes 0-99/100"}),
        (200, {"Content-Range": "bytes 50-99/100", "ETag": '"new"'}),
        (200, {"Content-Range": "nonsense"}),
        (200, {"Content-Length": "50"}),
        (200, {"Content-Length": "50", "ETag": ETAG}),
        (200, {"Content-Length": "80", "ETag": ETAG}),
    ],
    ids=[
        *("unsatisfiable", "no range", "other start", "other size", "other unit", "etag", "date"),
        *("past the end", "backwards", "another length", "compressed"),
        *("200, other start", "200, from the start", "200, etag", "200, no range"),
        *("200, as long as the rest", "200, the rest of it", "200, same file, other length"),
    ],
)
def test_a_rest_of_something_else_voids_what_is_there(status: int, headers: dict[str, str]) -> None:
    assert given_answer(status, headers, HALF) is None


def test_a_rest_of_unknown_end_voids_what_is_there() -> None:
    asked = Partial(offset=50, validator=ETAG)
    assert given_answer(206, {"Content-Range": "bytes 50-99/*"}, asked) is None
    assert given_answer(206, {"Content-Range": "bytes 50-99/*"}, HALF) is not None


@pytest.mark.parametrize("validator", [{}, {"ETag": ETAG}])
def test_a_rest_that_is_called_200_continues_by_its_range(validator: dict[str, str]) -> None:
    headers = {"Content-Range": "bytes 50-99/100", "Content-Length": "50", **validator}
    answer = given_answer(200, headers, HALF)
    assert answer is not None
    assert answer.partial == HALF


def test_the_same_file_from_zero_keeps_its_size() -> None:
    answer = given_answer(200, {"ETag": ETAG, "Transfer-Encoding": "chunked"}, HALF)
    assert answer is not None
    assert answer.partial == Partial(offset=0, validator=ETAG, total=100)


def test_a_compressed_file_in_place_of_the_rest_starts_from_zero() -> None:
    answer = given_answer(200, {"ETag": ETAG, "Content-Encoding": "br"}, HALF)
    assert answer is not None
    assert (answer.partial, answer.coding) == (Partial(), "br")


@pytest.mark.parametrize("told", ["bytes 0-98/100", "bytes 1-99/100", "bytes 0-99/*", "nonsense"])
def test_a_part_that_was_not_asked_for_is_the_servers_fault(told: str) -> None:
    with pytest.raises(ClipmillError, match="part of the file") as caught:
        given_answer(200, {"Content-Range": told})
    assert caught.value.code is ErrorCode.NETWORK_SERVER


def test_the_whole_may_say_its_range() -> None:
    answer = given_answer(200, {"Content-Range": "bytes 0-99/100"})
    assert answer is not None
    assert answer.partial.total == 100


@pytest.mark.parametrize("status", [206, 416, 204, 302, 403, 503])
def test_a_status_that_was_not_asked_for_is_an_error(status: int) -> None:
    with pytest.raises(ClipmillError):
        given_answer(status, {"Content-Range": "bytes 0-99/100"}, NOTHING)


HEADER_NAMES = st.sampled_from(
    [
        *("ETag", "Last-Modified", "Content-Range", "Content-Length", "Content-Type"),
        *("Retry-After", "Content-Encoding"),
    ]
)


@given(
    st.sampled_from([200, 206, 416, 403, 500]),
    st.dictionaries(
        HEADER_NAMES,
        st.text(max_size=30)
        | st.sampled_from(["bytes 50-99/100", "50", ETAG, "gzip", "bytes 0-9/10"]),
    ),
    st.sampled_from([NOTHING, HALF]),
)
def test_whatever_a_server_says_bytes_never_go_past_what_is_there(
    status: int, headers: dict[str, str], asked: Partial
) -> None:
    try:
        answer = judge(status, CIMultiDict(headers), asked, host=HOST, max_bytes=1_000)
    except ClipmillError:
        return
    assert answer is None or answer.partial.offset in {0, asked.offset}
    assert answer is None or (answer.partial.total or 0) <= 1_000
