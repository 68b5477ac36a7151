import contextlib
import gzip
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.network.decoding import (
    GROWTH_FREE_BYTES,
    MEMBERS_MAX,
    PIECE_BYTES,
    Identity,
    decoder_of,
)
from schemas.errors import ClipmillError, ErrorCode

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY = random.Random(1).randbytes(300_000) + bytes(100_000)


def raw_deflate(body: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(body) + deflate.flush()


def brotli_of(body: bytes) -> bytes:
    return bytes(brotli.compress(body, quality=4))


FORMS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "several members": ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli_of),
    "zstd": ("zstd", zstd.compress),
    "several frames": ("zstd", lambda body: zstd.compress(body[:9]) + zstd.compress(body[9:])),
}


def decoded(coding: str, sent: bytes, step: int = 65_536) -> tuple[bytes, bool]:
    decoder = decoder_of(coding, "cdn.example")
    pieces = [
        piece for at in range(0, len(sent), step) for piece in decoder.feed(sent[at : at + step])
    ]
    assert max(map(len, pieces), default=0) <= 2 * PIECE_BYTES
    return b"".join(pieces), decoder.finished


@pytest.mark.parametrize(("coding", "encode"), FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("step", [1_000, 65_536, 1 << 22])
def test_a_compressed_body_is_decoded(
    coding: str, encode: Callable[[bytes], bytes], step: int
) -> None:
    assert decoded(coding, encode(BODY), step) == (BODY, True)


@pytest.mark.parametrize(("coding", "encode"), FORMS.values(), ids=FORMS.keys())
def test_a_cut_body_is_not_finished(coding: str, encode: Callable[[bytes], bytes]) -> None:
    sent = encode(BODY)
    for end in (len(sent) // 2, len(sent) - 1):
        got, finished = decoded(coding, sent[:end])
        assert not finished
        assert BODY.startswith(got)


@pytest.mark.parametrize(("coding", "encode"), FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("damage", ["not compressed", "garbage behind"])
def test_what_is_none_is_the_servers_fault(
    coding: str, encode: Callable[[bytes], bytes], damage: str
) -> None:
    sent = b"\x00\x00\x00\x20ftypisom" * 9_000
    if damage == "garbage behind":
        sent = encode(BODY) + b"<html>" * 9_000
    with pytest.raises(ClipmillError, match="cannot be decoded") as caught:
        decoded(coding, sent)
    assert caught.value.code is ErrorCode.NETWORK_SERVER


@pytest.mark.parametrize(("coding", "encode"), FORMS.values(), ids=FORMS.keys())
def test_a_bomb_is_refused_without_filling_the_memory(
    coding: str, encode: Callable[[bytes], bytes]
) -> None:
    sent = encode(bytes(GROWTH_FREE_BYTES + PIECE_BYTES * 4))
    sizes = map(len, decoder_of(coding, "cdn.example").feed(sent))
    tracemalloc.start()
    try:
        with pytest.raises(ClipmillError, match="grows more than media does"):
            sum(sizes)
        assert tracemalloc.get_traced_memory()[1] < 16 * PIECE_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("coding", "empty"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_members_without_content_have_an_end(coding: str, empty: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ClipmillError, match="members"):
        decoded(coding, empty(b"") * (MEMBERS_MAX + 1))


def test_identity_hands_on_what_comes() -> None:
    decoder = decoder_of(None, "cdn.example")
    assert isinstance(decoder, Identity)
    assert (list(decoder.feed(b"abc")), decoder.finished) == ([b"abc"], True)


@given(st.sampled_from(["gzip", "deflate", "br", "zstd"]), st.binary(max_size=400))
def test_any_bytes_are_decoded_or_refused(coding: str, sent: bytes) -> None:
    with contextlib.suppress(ClipmillError):
        decoded(coding, sent, 7)
