import hashlib
import struct
import zlib
from http.cookiejar import CookieJar
from importlib.resources import files

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caching.row_codec import (
    DICTIONARY,
    FORMAT,
    JSON_BYTES_MAX,
    CachedExtraction,
    UnreadableRowError,
    expiry_of_packed,
    pack,
    unpack,
)
from agents.engine.results import (
    COOKIES_BYTES_MAX,
    RESULT_BYTES_MAX,
    add_cookies,
    cookies_for,
)
from schemas.codec import encode
from schemas.video import Cookie
from tests.unit.agents.builders import make_extraction
from tests.unit.agents.platforms.tiktok.extractions import extraction_of

FINGERPRINT = b"12345678"
ENTRY = CachedExtraction(expires_at=1_234.5, extraction=make_extraction(), fingerprint=FINGERPRINT)
ROW = pack(ENTRY)
DICTIONARY_BYTES = (files("agents.caching") / DICTIONARY).read_bytes()


def test_row_round_trips() -> None:
    entry = unpack(ROW)
    assert entry == ENTRY
    assert bytes(entry.extraction.raw) == bytes(make_extraction().raw)
    assert expiry_of_packed(ROW) == 1_234.5


@given(
    raw=st.recursive(
        st.none() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    ),
    expires_at=st.floats(allow_nan=False, allow_infinity=False),
    fingerprint=st.binary(min_size=8, max_size=8),
    cookie=st.text(),
)
def test_any_entry_round_trips(
    raw: object, expires_at: float, fingerprint: bytes, cookie: str
) -> None:
    cookies = (Cookie(name="a", value=cookie, domain=".b"),)
    entry = CachedExtraction(
        expires_at=expires_at, extraction=extraction_of(raw, cookies), fingerprint=fingerprint
    )
    assert unpack(pack(entry)) == entry
    assert expiry_of_packed(pack(entry)) == expires_at


def test_typical_row_is_much_smaller_than_its_text() -> None:
    assert len(ROW) < len(encode(make_extraction())) / 8


def test_dictionary_of_a_format_never_changes() -> None:
    assert FORMAT == 1
    digest = "939634e7da762aa4cd198636e9714e0c7bce92299234cc9cb6051b734b78e5c5"
    assert hashlib.sha256(DICTIONARY_BYTES).hexdigest() == digest
    assert len(DICTIONARY_BYTES) <= 32 * 2**10


def compressed_row(text: bytes, dictionary: bytes = DICTIONARY_BYTES) -> bytes:
    packer = zlib.compressobj(zdict=dictionary)
    return struct.pack(">Bd8s", FORMAT, 1.0, FINGERPRINT) + packer.compress(text) + packer.flush()


HOSTILE = {
    "empty": b"",
    "one byte": ROW[:1],
    "header only": ROW[:17],
    "an older row": encode({"expires_at": 1e12, "extraction": {}}),
    "a newer format": bytes([FORMAT + 1]) + ROW[1:],
    "without the last byte": ROW[:-1],
    "half of a row": ROW[: len(ROW) // 2],
    "no zlib": ROW[:17] + b"\xff" * 50,
    "another dictionary": compressed_row(encode(make_extraction()), b"another"),
    "no extraction": compressed_row(b"{}"),
    "no JSON": compressed_row(b"\xff\xfe"),
    "deep JSON": compressed_row(b"[" * 100_000),
    "infinite expiry": pack(msgspec.structs.replace(ENTRY, expires_at=float("inf"))),
    "negative infinite expiry": pack(msgspec.structs.replace(ENTRY, expires_at=float("-inf"))),
    "expiry that is no number": pack(msgspec.structs.replace(ENTRY, expires_at=float("nan"))),
    "a bomb": compressed_row(bytes(JSON_BYTES_MAX + 1)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_invalid_row_is_unreadable(name: str) -> None:
    with pytest.raises(UnreadableRowError):
        unpack(HOSTILE[name])
    assert expiry_of_packed(HOSTILE[name]) in {0.0, 1.0, ENTRY.expires_at}


@given(st.binary(max_size=200))
def test_random_bytes_are_unreadable(noise: bytes) -> None:
    with pytest.raises(UnreadableRowError):
        unpack(bytes([FORMAT]) + noise)


@given(st.data())
def test_corrupt_row_is_unreadable_or_decodes_to_the_same(data: st.DataObject) -> None:
    """A back reference may change to another copy of the same text: 133 of 48,195 flips do that."""
    offset = data.draw(st.integers(17, len(ROW) - 1))
    damaged = bytearray(ROW)
    damaged[offset] ^= data.draw(st.integers(1, 255))
    try:
        entry = unpack(bytes(damaged))
    except UnreadableRowError:
        return
    assert entry == ENTRY


@pytest.mark.parametrize("expires_at", [float("inf"), float("-inf"), float("nan")])
def test_row_without_a_finite_expiry_is_expired(expires_at: float) -> None:
    assert expiry_of_packed(pack(msgspec.structs.replace(ENTRY, expires_at=expires_at))) == 0.0


def test_largest_extraction_of_the_engine_fits() -> None:
    jar = CookieJar()
    add_cookies(
        jar,
        tuple(Cookie(name=f"{n:02}", value='"' * 200, domain=".a.example") for n in range(64)),
    )
    cookies = cookies_for("https://a.example/", jar)
    assert len(encode(cookies)) > 0.9 * COOKIES_BYTES_MAX
    raw = msgspec.Raw(b'"' + b"x" * (RESULT_BYTES_MAX - 2) + b'"')
    extraction = msgspec.structs.replace(make_extraction(), raw=raw, cookies=cookies)
    entry = msgspec.structs.replace(ENTRY, extraction=extraction)
    assert unpack(pack(entry)) == entry


def test_trailing_bytes_are_ignored() -> None:
    assert unpack(ROW + b"more").extraction == ENTRY.extraction


def test_fingerprint_is_zero_by_default() -> None:
    entry = CachedExtraction(expires_at=1.0, extraction=make_extraction())
    assert unpack(pack(entry)).fingerprint == bytes(8)
