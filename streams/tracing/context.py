"""W3C Trace Context: the values of ``traceparent`` and ``tracestate``. Pure.

Source: https://www.w3.org/TR/trace-context-2/
"""

import hashlib
import re

import msgspec

SAMPLED = 0x01
"""Flag ``sampled``: the caller may have recorded the trace."""

KNOWN_FLAGS = 0x03
"""``sampled`` and ``random``; all other bits must be zero in version 00."""

STATE_CHARACTERS_MAX = 512
"""Maximum length of a propagated ``tracestate``: the minimum of W3C, as it is on every record."""

LONG_MEMBER_CHARACTERS = 128
"""Members longer than this are dropped first, W3C 3.3.1.5."""

STATE_MEMBERS_MAX = 32

NO_SPAN = "0" * 16

_PARENT = re.compile(
    # version (not ff), trace id, span id, flags, and fields of future versions.
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)
_ORIGIN = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})")
_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class TraceContext(msgspec.Struct, frozen=True):
    """A position in a trace.

    Attributes:
        trace_id: 32 hex digits, not all zero.
        span_id: 16 hex digits of the parent span; "" without one.
        flags: `KNOWN_FLAGS` only.
        state: ``tracestate`` as received, "" without one.
    """

    trace_id: str
    span_id: str = ""
    flags: int = 0
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether spans of this trace are recorded."""
        return bool(self.flags & SAMPLED)


def parse_context(traceparent: str | None, tracestate: str | None) -> TraceContext | None:
    """Parse two header values; None when ``traceparent`` is missing or invalid.

    An invalid ``tracestate`` is dropped alone.
    """
    found = _PARENT.fullmatch(traceparent or "")
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "00" and more is not None:
        return None
    known = int(flags, 16) & (KNOWN_FLAGS if version == "00" else SAMPLED)
    return TraceContext(trace_id, span_id, known, bounded_state(tracestate))


def bounded_state(tracestate: str | None) -> str:
    """Return a ``tracestate`` unchanged, shortened when too long, "" when invalid."""
    if not tracestate:
        return ""
    members = [member.strip(" \t") for member in tracestate.split(",")]
    members = [member for member in members if member]
    names = {member.partition("=")[0] for member in members}
    is_valid = all(map(_MEMBER.fullmatch, members)) and len(names) == len(members)
    if not members or not is_valid or len(members) > STATE_MEMBERS_MAX:
        return ""
    return tracestate if len(tracestate) <= STATE_CHARACTERS_MAX else _shortened(members)


def _shortened(members: list[str]) -> str:
    kept = [member for member in members if len(member) <= LONG_MEMBER_CHARACTERS]
    while len(",".join(kept)) > STATE_CHARACTERS_MAX:
        kept.pop()
    return ",".join(kept)


def parse_origin(text: str | None) -> tuple[str, str] | None:
    """Parse the header `scope.REQUEST_TRACE` into trace id and parent span id ("" for none)."""
    found = None if not text else _ORIGIN.fullmatch(text)
    if found is None or not found[1].strip("0"):
        return None
    return found[1], "" if found[2] == NO_SPAN else found[2]


def digest(text: str, digits: int) -> str:
    """Return a deterministic id: the same for every duplicate of a record."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:digits]


def trace_digest(text: str) -> str:
    return digest(text, 32)


def span_digest(text: str) -> str:
    return digest(text, 16)


def request_root(trace_id: str, request_id: str) -> TraceContext:
    """Return trace id and span id of the root span of a request.

    Deterministic, because the ledger records that span only when the outcome is decided. Batch
    members and replays of dead letters, whose ids have a slash, have traces of their own: one trace
    for all would have thousands of spans.

    Args:
        trace_id: trace id in the result of the request.
        request_id: an id chosen by a client has no slash.
    """
    span_id = span_digest(f"{trace_id}:{request_id}:request")
    return TraceContext(request_trace(trace_id, request_id), span_id)


def request_trace(trace_id: str, request_id: str) -> str:
    """Return the trace id of the root span of a request; see `request_root`."""
    return trace_digest(f"{trace_id}:{request_id}") if "/" in request_id else trace_id


def parent_request(request_id: str) -> str:
    """Return the originating request of a batch member or replay, "" for all others."""
    return request_id.rpartition("/")[0]
