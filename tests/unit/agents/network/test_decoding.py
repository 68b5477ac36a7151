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
    CHUNK_BYTES,
    GROWTH_FREE_BYTES,
    MEMBERS_MAX,
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


def decode(coding: str, sent: bytes, step: int = 65_536) -> tuple[bytes, bool]:
    decoder = decoder_of(coding, "cdn.example")
    chunks = [
        chunk for at in range(0, len(sent), step) for chunk in decoder.feed(sent[at : at + step])
    ]
    assert max(map(len, chunks), default=0) <= 2 * CHUNK_BYTES
    return b"".join(chunks), decoder.finished


@pytest.mark.parametrize(("coding", "encode"), FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("step", [1_000, 65_536, 1 << 22])
def test_compressed_body_is_decoded(
    coding: str, encode: Callable[[bytes], bytes], step: int
) -> None:
    assert decode(coding, encode(BODY), step) == (BODY, True)


@pytest.mark.parametrize(("coding", "encode"), FORMS.values(), ids=FORMS.keys())
def test_truncated_body_is_not_finished(coding: str, encode: Callable[[bytes], bytes]) -> None:
    sent = encode(BODY)
    for end in (len(sent) // 2, len(sent) - 1):
        decoded, finished = decode(coding, sent[:end])
        assert not finished
        assert BODY.startswith(decoded)


@pytest.mark.parametrize(("coding", "encode"), FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("damage", ["not compressed", "trailing garbage"])
def test_invalid_body_is_a_server_error(
    coding: str, encode: Callable[[bytes], bytes], damage: str
) -> None:
    sent = b"\x00\x00\x00\x20ftypisom" * 9_000
    if damage == "trailing garbage":
        sent = encode(BODY) + b"<html>" * 9_000
    with pytest.raises(ClipmillError, match="cannot be decoded") as caught:
        decode(coding, sent)
    assert caught.value.code is ErrorCode.NETWORK_SERVER


@pytest.mark.parametrize(("coding", "encode"), FORMS.values(), ids=FORMS.keys())
def test_decompression_bomb_is_refused_in_bounded_memory(
    coding: str, encode: Callable[[bytes], bytes]
) -> None:
    sent = encode(bytes(GROWTH_FREE_BYTES + CHUNK_BYTES * 4))
    sizes = map(len, decoder_of(coding, "cdn.example").feed(sent))
    tracemalloc.start()
    try:
        with pytest.raises(ClipmillError, match="compression ratio is too high"):
            sum(sizes)
        assert tracemalloc.get_traced_memory()[1] < 16 * CHUNK_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("coding", "empty"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_number_of_empty_members_is_bounded(coding: str, empty: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ClipmillError, match="members"):
        decode(coding, empty(b"") * (MEMBERS_MAX + 1))


def test_identity_passes_bytes_through() -> None:
    decoder = decoder_of(None, "cdn.example")
    assert isinstance(decoder, Identity)
    assert (list(decoder.feed(b"abc")), decoder.finished) == ([b"abc"], True)


@given(st.sampled_from(["gzip", "deflate", "br", "zstd"]), st.binary(max_size=400))
def test_any_bytes_are_decoded_or_refused(coding: str, sent: bytes) -> None:
    with contextlib.suppress(ClipmillError):
        decode(coding, sent, 7)
