import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from agents.network.answers import MediaResponse, PartialBody, check_response
from schemas.errors import ClipmillError, ErrorCode

HOST = "v16.tiktok.com"
ETAG = '"abc"'
DATE = "Mon, 23 Nov 2026 08:00:00 GMT"
NOTHING_RECEIVED = PartialBody()
HALF = PartialBody(offset=50, validator=ETAG, total=100)


def check(
    status: int,
    headers: dict[str, str],
    requested: PartialBody = NOTHING_RECEIVED,
    max_bytes: int = 1_000,
) -> MediaResponse | None:
    return check_response(status, CIMultiDict(headers), requested, host=HOST, max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("partial", "headers"),
    [
        (NOTHING_RECEIVED, {}),
        (HALF, {"Range": "bytes=50-", "If-Range": ETAG}),
        (PartialBody(offset=0, validator=ETAG), {}),
        (PartialBody(offset=50, validator=None), {}),
        (PartialBody(offset=50, validator=DATE), {"Range": "bytes=50-", "If-Range": DATE}),
    ],
)
def test_range_is_requested_only_with_a_validator(
    partial: PartialBody, headers: dict[str, str]
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
def test_only_strong_validators_are_used(headers: dict[str, str], validator: str | None) -> None:
    answer = check(200, headers)
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
def test_size_is_read_from_the_headers(
    headers: dict[str, str], total: int | None, *, delimited: bool
) -> None:
    answer = check(200, headers)
    assert answer is not None
    assert (answer.partial.total, answer.delimited) == (total, delimited)


@pytest.mark.parametrize(
    ("value", "mime_type"),
    [
        ("video/mp4", "video/mp4"),
        ("Video/MP4; codecs=avc1", "video/mp4"),
        ("application/octet-stream", "application/octet-stream"),
        ("nonsense", None),
        ("video/<script>", None),
        ("", None),
    ],
)
def test_valid_media_type_is_kept(value: str, mime_type: str | None) -> None:
    answer = check(200, {"Content-Type": value})
    assert answer is not None
    assert answer.mime_type == mime_type


@pytest.mark.parametrize(
    "value",
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
def test_text_response_is_an_expired_link(value: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        check(200, {"Content-Type": value})
    assert caught.value.code is ErrorCode.CONTENT_LINK_EXPIRED


@pytest.mark.parametrize(
    ("value", "coding"),
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
def test_content_encoding_is_detected(value: str, coding: str | None) -> None:
    answer = check(200, {"Content-Encoding": value, "ETag": ETAG, "Content-Length": "9"})
    assert answer is not None
    assert (answer.coding, answer.delimited) == (coding, True)
    # Offsets and sizes are those of the encoded body, which cannot be resumed.
    assert answer.partial == (PartialBody() if coding else PartialBody(validator=ETAG, total=9))


@pytest.mark.parametrize("value", ["compress", "gzip, gzip", "br, gzip", "none", "aws-chunked"])
def test_unknown_encoding_is_a_server_error(value: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        check(200, {"Content-Encoding": value})
    assert caught.value.code is ErrorCode.NETWORK_SERVER


def test_oversized_file_is_refused_by_its_content_length() -> None:
    assert check(200, {"Content-Length": "100"}, max_bytes=100) is not None
    with pytest.raises(ClipmillError) as caught:
        check(200, {"Content-Length": "100"}, max_bytes=99)
    assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE


def test_partial_response_resumes_at_its_offset() -> None:
    answer = check(206, {"Content-Range": "bytes 50-99/100", "ETag": ETAG}, HALF)
    assert answer is not None
    assert answer.partial == HALF


def test_total_of_a_partial_response_is_kept() -> None:
    requested = PartialBody(offset=50, validator=ETAG)
    answer = check(206, {"Content-Range": "bytes 50-99/100"}, requested)
    assert answer is not None
    assert answer.partial == PartialBody(offset=50, validator=ETAG, total=100)


def test_full_response_to_a_range_restarts_from_zero() -> None:
    answer = check(200, {"ETag": '"new"', "Content-Length": "80"}, HALF)
    assert answer is not None
    assert answer.partial == PartialBody(offset=0, validator='"new"', total=80)


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
        *(
            "200, length of the rest",
            "200, same etag, length of the rest",
            "200, same file, other length",
        ),
    ],
)
def test_mismatched_range_discards_the_received_part(status: int, headers: dict[str, str]) -> None:
    assert check(status, headers, HALF) is None


def test_range_without_a_known_total_discards_the_received_part() -> None:
    requested = PartialBody(offset=50, validator=ETAG)
    assert check(206, {"Content-Range": "bytes 50-99/*"}, requested) is None
    assert check(206, {"Content-Range": "bytes 50-99/*"}, HALF) is not None


@pytest.mark.parametrize("validator", [{}, {"ETag": ETAG}])
def test_range_sent_with_status_200_resumes(validator: dict[str, str]) -> None:
    headers = {"Content-Range": "bytes 50-99/100", "Content-Length": "50", **validator}
    answer = check(200, headers, HALF)
    assert answer is not None
    assert answer.partial == HALF


def test_full_response_of_the_same_file_keeps_the_total() -> None:
    answer = check(200, {"ETag": ETAG, "Transfer-Encoding": "chunked"}, HALF)
    assert answer is not None
    assert answer.partial == PartialBody(offset=0, validator=ETAG, total=100)


def test_compressed_response_to_a_range_restarts_from_zero() -> None:
    answer = check(200, {"ETag": ETAG, "Content-Encoding": "br"}, HALF)
    assert answer is not None
    assert (answer.partial, answer.coding) == (PartialBody(), "br")


@pytest.mark.parametrize("value", ["bytes 0-98/100", "bytes 1-99/100", "bytes 0-99/*", "nonsense"])
def test_unrequested_part_is_a_server_error(value: str) -> None:
    with pytest.raises(ClipmillError, match="part of the file") as caught:
        check(200, {"Content-Range": value})
    assert caught.value.code is ErrorCode.NETWORK_SERVER


def test_full_range_with_status_200_is_accepted() -> None:
    answer = check(200, {"Content-Range": "bytes 0-99/100"})
    assert answer is not None
    assert answer.partial.total == 100


@pytest.mark.parametrize("status", [206, 416, 204, 302, 403, 503])
def test_unexpected_status_is_an_error(status: int) -> None:
    with pytest.raises(ClipmillError):
        check(status, {"Content-Range": "bytes 0-99/100"}, NOTHING_RECEIVED)


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
    st.sampled_from([NOTHING_RECEIVED, HALF]),
)
def test_any_response_continues_at_zero_or_the_requested_offset(
    status: int, headers: dict[str, str], requested: PartialBody
) -> None:
    try:
        answer = check_response(status, CIMultiDict(headers), requested, host=HOST, max_bytes=1_000)
    except ClipmillError:
        return
    assert answer is None or answer.partial.offset in {0, requested.offset}
    assert answer is None or (answer.partial.total or 0) <= 1_000
