import hashlib
import struct
import zlib
from http.cookiejar import CookieJar
from importlib.resources import files

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.caching.packing import (
    DICTIONARY,
    FORMAT,
    JSON_BYTES_MAX,
    CachedExtraction,
    UnreadableRowError,
    end_of_packed,
    pack,
    unpack,
)
from agents.engine.results import (
    COOKIES_BYTES_MAX,
    RESULT_BYTES_MAX,
    cookies_for,
    put_cookies,
)
from schemas.codec import encode
from schemas.video import Cookie
from tests.unit.agents.builders import make_extraction
from tests.unit.platforms.tiktok.raws import extraction_of

MEANING = b"12345678"
ENTRY = CachedExtraction(expires_at=1_234.5, extraction=make_extraction(), meaning=MEANING)
ROW = pack(ENTRY)
DICTIONARY_BYTES = (files("agents.caching") / DICTIONARY).read_bytes()


def test_a_row_is_read_as_it_was_written() -> None:
    entry = unpack(ROW)
    assert entry == ENTRY
    assert bytes(entry.extraction.raw) == bytes(make_extraction().raw)
    assert end_of_packed(ROW) == 1_234.5


@given(
    raw=st.recursive(
        st.none() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    ),
    end=st.floats(allow_nan=False, allow_infinity=False),
    meaning=st.binary(min_size=8, max_size=8),
    cookie=st.text(),
)
def test_any_entry_survives(raw: object, end: float, meaning: bytes, cookie: str) -> None:
    cookies = (Cookie(name="a", value=cookie, domain=".b"),)
    entry = CachedExtraction(
        expires_at=end, extraction=extraction_of(raw, cookies), meaning=meaning
    )
    assert unpack(pack(entry)) == entry
    assert end_of_packed(pack(entry)) == end


def test_a_typical_row_is_a_small_part_of_its_text() -> None:
    assert len(ROW) < len(encode(make_extraction())) / 8


def test_the_dictionary_of_a_format_never_changes() -> None:
    assert FORMAT == 1
    digest = "939634e7da762aa4cd198636e9714e0c7bce92299234cc9cb6051b734b78e5c5"
    assert hashlib.sha256(DICTIONARY_BYTES).hexdigest() == digest
    assert len(DICTIONARY_BYTES) <= 32 * 2**10


def zipped(text: bytes, dictionary: bytes = DICTIONARY_BYTES) -> bytes:
    packer = zlib.compressobj(zdict=dictionary)
    return struct.pack(">Bd8s", FORMAT, 1.0, MEANING) + packer.compress(text) + packer.flush()


HOSTILE = {
    "empty": b"",
    "one byte": ROW[:1],
    "head only": ROW[:17],
    "an older row": encode({"expires_at": 1e12, "extraction": {}}),
    "a newer format": bytes([FORMAT + 1]) + ROW[1:],
    "cut off": ROW[:-1],
    "cut in half": ROW[: len(ROW) // 2],
    "no zlib": ROW[:17] + b"\xff" * 50,
    "another dictionary": zipped(encode(make_extraction()), b"another"),
    "no extraction": zipped(b"{}"),
    "no JSON": zipped(b"\xff\xfe"),
    "deep JSON": zipped(b"[" * 100_000),
    "without an end": pack(msgspec.structs.replace(ENTRY, expires_at=float("inf"))),
    "over for ever": pack(msgspec.structs.replace(ENTRY, expires_at=float("-inf"))),
    "an end that is no number": pack(msgspec.structs.replace(ENTRY, expires_at=float("nan"))),
    "a bomb": zipped(bytes(JSON_BYTES_MAX + 1)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_row_is_unreadable_and_nothing_worse(name: str) -> None:
    with pytest.raises(UnreadableRowError):
        unpack(HOSTILE[name])
    assert end_of_packed(HOSTILE[name]) in {0.0, 1.0, ENTRY.expires_at}


@given(st.binary(max_size=200))
def test_noise_is_unreadable(noise: bytes) -> None:
    with pytest.raises(UnreadableRowError):
        unpack(bytes([FORMAT]) + noise)


@given(st.data())
def test_a_damaged_row_is_unreadable_or_means_the_same(data: st.DataObject) -> None:
    """A back reference may change to another copy of the same text: 133 of 48,195 flips do that."""
    place = data.draw(st.integers(17, len(ROW) - 1))
    damaged = bytearray(ROW)
    damaged[place] ^= data.draw(st.integers(1, 255))
    try:
        entry = unpack(bytes(damaged))
    except UnreadableRowError:
        return
    assert entry == ENTRY


@pytest.mark.parametrize("end", [float("inf"), float("-inf"), float("nan")])
def test_a_row_without_an_end_is_over(end: float) -> None:
    assert end_of_packed(pack(msgspec.structs.replace(ENTRY, expires_at=end))) == 0.0


def test_the_largest_extraction_of_the_engine_fits() -> None:
    jar = CookieJar()
    put_cookies(
        jar,
        tuple(Cookie(name=f"{n:02}", value='"' * 200, domain=".a.example") for n in range(64)),
    )
    cookies = cookies_for("https://a.example/", jar)
    assert len(encode(cookies)) > 0.9 * COOKIES_BYTES_MAX
    raw = msgspec.Raw(b'"' + b"x" * (RESULT_BYTES_MAX - 2) + b'"')
    extraction = msgspec.structs.replace(make_extraction(), raw=raw, cookies=cookies)
    entry = msgspec.structs.replace(ENTRY, extraction=extraction)
    assert unpack(pack(entry)) == entry


def test_bytes_behind_a_row_do_no_harm() -> None:
    assert unpack(ROW + b"more").extraction == ENTRY.extraction


def test_an_entry_is_of_no_settings_unless_it_says_so() -> None:
    entry = CachedExtraction(expires_at=1.0, extraction=make_extraction())
    assert unpack(pack(entry)).meaning == bytes(8)
