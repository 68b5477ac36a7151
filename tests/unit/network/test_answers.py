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
    "told", ["text/html", "TEXT/HTML; charset=utf-8", "text/plain", "application/json"]
)
def test_a_page_in_place_of_media_is_an_expired_link(told: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        given_answer(200, {"Content-Type": told})
    assert caught.value.code is ErrorCode.CONTENT_LINK_EXPIRED


def test_unasked_compression_is_the_servers_fault() -> None:
    assert given_answer(200, {"Content-Encoding": "identity"}) is not None
    with pytest.raises(ClipmillError) as caught:
        given_answer(200, {"Content-Encoding": "gzip"})
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
    ],
    ids=["unsatisfiable", "no range", "other start", "other size", "other unit", "etag", "date"],
)
def test_a_rest_of_something_else_voids_what_is_there(status: int, headers: dict[str, str]) -> None:
    assert given_answer(status, headers, HALF) is None


@pytest.mark.parametrize("status", [206, 416, 204, 302, 403, 503])
def test_a_status_that_was_not_asked_for_is_an_error(status: int) -> None:
    with pytest.raises(ClipmillError):
        given_answer(status, {"Content-Range": "bytes 0-99/100"}, NOTHING)


HEADER_NAMES = st.sampled_from(
    ["ETag", "Last-Modified", "Content-Range", "Content-Length", "Content-Type", "Retry-After"]
)


@given(
    st.sampled_from([200, 206, 416, 403, 500]),
    st.dictionaries(HEADER_NAMES, st.text(max_size=30)),
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
