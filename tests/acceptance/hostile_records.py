"""Hostile and invalid records of the requests topic, with the expected rejection of each.

Those with ``dead_lettered`` cannot be decoded and must also become dead letters, unchanged.
"""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.standin import short_code, video_id

GOOD = f"https://www.tiktok.com/@name/video/{video_id('kilobytes', param=16, serial=999)}"
"""A working link: rejections have another reason."""

PENDING = "io.clipmill.link.pending.v1"
STRUCTURED = "application/cloudevents+json"

Headers = tuple[tuple[str, bytes], ...]


class HostileRecord(NamedTuple):
    """A record that is rejected.

    Attributes:
        name: unique.
        value: of the record.
        field: start of the path that the rejection must name.
        code: of the rejection.
        headers: of the record.
        key: of the record.
        result_id: id of the outcome; None for the record's default id.
        dead_lettered: whether it also becomes a dead letter.
        status: of the outcome.
    """

    name: str
    value: bytes | None
    field: str = "$"
    code: str = "request.invalid"
    headers: Headers = ()
    key: bytes | None = None
    result_id: str | None = None
    dead_lettered: bool = False
    status: str = "rejected"


def to_json(body: object) -> bytes:
    return json.dumps(body).encode()


def undecodable(name: str, value: bytes | None, **others: Any) -> HostileRecord:
    return HostileRecord(f"unreadable: {name}", value, dead_lettered=True, **others)


GOOD_BODY = to_json({"url": GOOD})

_UNDECODABLE = (
    undecodable("null value", None, key=b"some key"),
    undecodable("null value under an empty key", None, key=b""),
    undecodable("nothing", b""),
    undecodable("spaces", b"   \n"),
    undecodable("one byte", b"\xff"),
    undecodable("nul bytes", b"\x00" * 100),
    undecodable("every byte", bytes(range(256))),
    undecodable("every byte as key", bytes(range(256)), key=bytes(range(256))),
    undecodable("word", b"hello"),
    undecodable("bare link", GOOD.encode()),
    undecodable("xml", b"<?xml version='1.0'?><url>https://www.tiktok.com</url>"),
    undecodable("form", b"url=https%3A%2F%2Fwww.tiktok.com&action=download"),
    undecodable("yaml", b"url: https://www.tiktok.com\naction: info\n"),
    undecodable("gzip", gzip.compress(GOOD_BODY, mtime=0)),
    undecodable("schema registry", b"\x00\x00\x00\x00\x07" + GOOD_BODY),
    undecodable("utf-16", GOOD_BODY.decode().encode("utf-16")),
    undecodable("utf-32", GOOD_BODY.decode().encode("utf-32")),
    undecodable("latin-1", '{"attributes": {"a": "é"}}'.encode("latin-1")),
    undecodable("bad utf-8 in a text", b'{"url": "https://www.tiktok.com/\xc3\x28"}'),
    undecodable("overlong utf-8", b'{"url": "\xc0\xaf"}'),
    undecodable("surrogate in utf-8", b'{"url": "\xed\xa0\x80"}'),
    undecodable("half an escape", rb'{"url": "\u12"}'),
    undecodable("lone surrogate", rb'{"url": "\ud800"}'),
    undecodable(
        "half of a surrogate pair in an attribute",
        rb'{"id": "lone", "url": "x", "attributes": {"a": "\ud83d"}}',
        field="$.attributes.a",
        result_id="lone",
    ),
    undecodable("cut off behind its id", b'{"id": "cut", "url": "htt', result_id="cut"),
    undecodable("half an object", b'{"url": "https'),
    undecodable("open object", b'{"url":'),
    undecodable("open list", b"["),
    undecodable("open list with links", b'["' + GOOD.encode() + b'",'),
    undecodable("single quotes", b"{'url': 'x'}"),
    undecodable("no quotes", b"{url: 1}"),
    undecodable("comment", b'{"url": "x"} // a comment'),
    undecodable("closing comma", b'{"url": "x",}'),
    undecodable("two objects", GOOD_BODY + GOOD_BODY),
    undecodable("lines of objects", GOOD_BODY + b"\n" + GOOD_BODY),
    undecodable("newline in a text", b'{"url": "a\nb"}'),
    undecodable("nul in a text", b'{"url": "a\x00b"}'),
    undecodable("nul at the end", GOOD_BODY + b"\x00"),
    undecodable("not a number", b"NaN"),
    undecodable("infinity in a field", b'{"priority": Infinity}'),
    undecodable("hexadecimal", b'{"priority": 0x5}'),
    undecodable("leading zero", b'{"priority": 05}'),
    undecodable("plus sign", b'{"priority": +5}'),
    undecodable("endless list", b"[" * 100_000),
    undecodable("endless object", b'{"a":' * 100_000),
    undecodable("deep list", b"[" * 50_000 + b"]" * 50_000),
    undecodable("deep object", b'{"options":' * 50_000 + b"1" + b"}" * 50_000),
    undecodable("deep in a field", b'{"urls":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    undecodable("large", b"\xfe" * 1_500_000, code="request.too_large"),
    undecodable("with headers", b"\xff", headers=(("a", b"\xff"), ("a", b""), ("", b"\x00"))),
    undecodable("with a large header", b"\xff", headers=(("x" * 1_000, b"y" * 400_000),)),
    undecodable("with many headers", b"\xff", headers=tuple((f"h{n}", b"v") for n in range(2_000))),
    undecodable("with a large key", b"\xff", key=b"k" * 400_000),
)

_NO_OBJECT = tuple(
    HostileRecord(f"no object: {text[:20]!r}", text.encode())
    for text in ("null", "true", "0", "-1.5e3", '""', f'"{GOOD}"', "[]", f'["{GOOD}"]', "[{}]")
)

_IDS: tuple[object, ...] = (
    *("", " ", "a b", " a", "a\n", "a\r\nx: y", "a\tb", "\x00", "a\x1b[31m", "a\u202eb", "ä"),
    *("../a", "a/b", "/etc/passwd", "..", ".", "-a", "--help", "a/0", "a" * 129, "a" * 100_000),
    *("%00", "a;b", "a'b", 'a"b', "a`b", "$(id)", "{}", "<a>", "a\\b", "a,b", "a|b", "\ufeffa"),
    *(-1, 1.5, 2**63, 10**30, True, [], ["a"], {}, {"a": 1}),
)
_WRONG: dict[str, tuple[object, ...]] = {
    "id": _IDS,
    "action": ("", "delete", "DOWNLOAD", "info ", "info\n", None, 1, True, [], ["info"], {}),
    "options": ("best", 1, True, None, [], [{}], "{}"),
    "deadline": (
        *("", "soon", "tomorrow", "2099-01-01", "2099-01-01T00:00:00", "2099-13-01T00:00:00Z"),
        *("2099-01-01T25:00:00Z", "2099-02-30T00:00:00Z", "20990101T000000Z", "9" * 10_000),
        *("10000-01-01T00:00:00Z", "-1-01-01T00:00:00Z", 1e300, [], {}, True),
    ),
    "priority": (-1, 10, 10**30, 1e300, -(2**63), 1.5, "5", "", True, None, [], {}),
    "attributes": (
        *("", "a", 1, True, None, [], ["a"], [["a", "b"]], {"a": 1}, {"a": None}, {"a": []}),
        *({"a": {"b": "c"}}, {"": "a"}, {"a" * 65: ""}, {"a": "b" * 1_025}),
        {f"a{number}": "" for number in range(33)},
    ),
    "retry_of": (1.5, -1, True, [], {}, "a" * 161, "a" * 100_000),
    "urls": ("", GOOD, 1, True, {}, {"0": GOOD}, [], [GOOD] * 1_001),
    "url": (1, 1.5, True, False, [GOOD], {"href": GOOD}, []),
}
_WRONG_OPTIONS: dict[str, tuple[object, ...]] = {
    "quality": ("", "4k", "720", "best\n", "BEST", "bestvideo+bestaudio", 720, True, None, [], {}),
    "container": ("", "avi", "mp4;rm", "../mp4", 1, None, ["mp4"]),
    "codec": ("", "av1", "H264", 264, None, ["h264"]),
    "audio_only": ("yes", "true", "", 1, 0, None, []),
    "audio": ("", "music", "SONG", True, None, 1, []),
    "watermark": ("", "remove", True, None, 1),
    "max_bytes": (0, -1, 1.5, "1", "", True, [], {}, -(2**63)),
    "degrade": ("no", 0, None, {}),
    "refresh": ("yes", 1, None, []),
}
_FOREIGN_OPTIONS = (
    *(
        "format",
        "proxy",
        "outtmpl",
        "paths",
        "exec",
        "cookiefile",
        "cookiesfrombrowser",
        "extractor",
    ),
    *(
        "postprocessors",
        "external_downloader",
        "ffmpeg_location",
        "config_locations",
        "http_headers",
    ),
    *("enable_file_urls", "load_info_filename", "plugin_dirs", "__proto__", "", "a.b", "Quality"),
)
_FOREIGN = (
    *(
        "URL",
        "Url",
        "url ",
        "ur1",
        "href",
        "link",
        "job",
        "video",
        "status",
        "attempts",
        "trace_id",
    ),
    *("proxy", "cookies", "headers", "output", "path", "__class__", "__proto__", "constructor"),
    *("", " ", "\x00", "a\nb", "$.url", "a.b", "urls[0]", "\uff55rl", "x" * 10_000),
)


def _wrong_fields() -> Iterator[HostileRecord]:
    for field, values in _WRONG.items():
        for number, value in enumerate(values):
            body = {"id": f"w-{field}-{number}", "url": GOOD, field: value}
            if field == "urls":
                del body["url"]
            result_id = None if field == "id" else f"w-{field}-{number}"
            name = f"{field} is {str(value)[:20]!r} ({number})"
            yield HostileRecord(name, to_json(body), field=f"$.{field}", result_id=result_id)


def _wrong_options() -> Iterator[HostileRecord]:
    for field, values in _WRONG_OPTIONS.items():
        for number, value in enumerate(values):
            result_id = f"o-{field}-{number}"
            body = {"id": result_id, "url": GOOD, "options": {field: value}}
            name = f"options.{field} is {str(value)[:20]!r} ({number})"
            yield HostileRecord(
                name, to_json(body), field=f"$.options.{field}", result_id=result_id
            )


def _foreign_fields() -> Iterator[HostileRecord]:
    for number, field in enumerate(_FOREIGN):
        body: dict[str, object] = {"id": f"f-{number}", "url": GOOD, field: "x"}
        name = f"unknown field {field[:20]!r}"
        yield HostileRecord(name, to_json(body), result_id=f"f-{number}")
    for number, field in enumerate(_FOREIGN_OPTIONS):
        body = {"id": f"p-{number}", "url": GOOD, "options": {field: "id > /tmp/x"}}
        name = f"unknown option {field!r}"
        yield HostileRecord(name, to_json(body), field="$.options", result_id=f"p-{number}")


def _contradictory(name: str, result_id: str, /, **fields: object) -> HostileRecord:
    return HostileRecord(name, to_json({"id": result_id, **fields}), result_id=result_id)


_CONTRADICTIONS = (
    _contradictory("nothing is asked", "c-1"),
    _contradictory("url and urls", "c-2", url=GOOD, urls=[GOOD]),
    _contradictory("both are null", "c-3", url=None, urls=None),
    HostileRecord("nothing at all", b"{}"),
    HostileRecord(
        "the last of two links counts",
        b'{"id": "c-4", "url": "' + GOOD.encode() + b'", "url": "file:///etc/passwd"}',
        field="$.url",
        result_id="c-4",
    ),
    HostileRecord(
        "the last of two ids counts",
        b'{"id": "c-5", "id": "c-6", "url": "x"}',
        "$.url",
        result_id="c-6",
    ),
    HostileRecord("escaped names", rb'{"\u0069d": "c-7", "url": "x"}', "$.url", result_id="c-7"),
    HostileRecord(
        "a large request",
        to_json({"id": "c-8", "url": GOOD, "attributes": {"a": "b" * 1_500_000}}),
        code="request.too_large",
        result_id="c-8",
    ),
    HostileRecord(
        "a large batch",
        to_json({"id": "c-9", "urls": [GOOD + "?" + "a" * 1_400] * 1_000}),
        code="request.too_large",
        result_id="c-9",
    ),
)


def _with_header(
    name: str, header: str, value: bytes, body: bytes = GOOD_BODY, **others: Any
) -> HostileRecord:
    return HostileRecord(f"header: {name}", body, headers=((header, value),), **others)


def _structured(name: str, body: object, **others: Any) -> HostileRecord:
    value = body if isinstance(body, bytes) else to_json(body)
    return _with_header(f"structured, {name}", "content-type", STRUCTURED.encode(), value, **others)


_EVENT = {"specversion": "1.0", "id": "e", "source": "/s", "type": "t"}

_HEADERS = (
    _with_header("old version", "ce_specversion", b"0.3", field="header ce_specversion"),
    _with_header("long version", "ce_specversion", b"1" * 100_000, field="header ce_specversion"),
    _with_header("no time", "ce_expirytime", b"soon", field="header ce_expirytime"),
    _with_header("long time", "ce_expirytime", b"9" * 100_000, field="header ce_expirytime"),
    _with_header(
        "time without zone", "ce_expirytime", b"2099-01-01T00:00:00", field="header ce_expiry"
    ),
    _with_header(
        "a batch of events",
        "content-type",
        b"application/cloudevents-batch+json",
        b"[]",
        field="header content-type",
    ),
    _with_header(
        "avro", "content-type", b"application/cloudevents+avro", field="header content-type"
    ),
    _with_header("garbage with an id", "ce_id", b"a" * 100_000, b"\xff", dead_lettered=True),
    _with_header("garbage with a trace", "traceparent", b"\xff" * 55, b"\xff", dead_lettered=True),
    _structured("garbage", b"\xff\xfe", dead_lettered=True),
    _structured("nothing", b"", dead_lettered=True),
    _structured("a list", []),
    _structured("nothing in it", {}),
    _structured("old version", {**_EVENT, "specversion": "0.3", "data": {}}, field="$.specversion"),
    _structured("number as version", {**_EVENT, "specversion": 1.0}, field="$.specversion"),
    _structured("no id", {**_EVENT, "id": ""}, field="$.id"),
    _structured("no data", _EVENT, dead_lettered=True),
    _structured("text as data", {**_EVENT, "data": json.dumps({"url": GOOD})}),
    _structured("bad base64", {**_EVENT, "data_base64": "!!"}, field="$.data_base64"),
    _structured("garbage in base64", {**_EVENT, "data_base64": "//79"}, dead_lettered=True),
    _structured("bad time", {**_EVENT, "expirytime": "soon", "data": {}}, field="$.expirytime"),
    _structured(
        "bad request in it",
        {**_EVENT, "data": {"id": "s-1", "url": "x"}},
        field="$.url",
        result_id="s-1",
    ),
    _structured(
        "unknown field in it",
        {**_EVENT, "data": {"id": "s-2", "url": GOOD, "x": 1}},
        result_id="s-2",
    ),
)


def job(request_id: str, **fields: object) -> dict[str, object]:
    """Return a job as the pipeline itself would encode it."""
    return {
        "request_id": request_id,
        "url": "https://127.0.0.1/",
        "action": "info",
        "options": {},
        "received_at": datetime.now(UTC).isoformat(),
        "trace_id": "0" * 32,
        **fields,
    }


def _spoofed(name: str, body: object, **others: Any) -> HostileRecord:
    value = body if isinstance(body, bytes) else to_json(body)
    return _with_header(f"spoofed, {name}", "ce_type", PENDING.encode(), value, **others)


_SPOOFED = (
    _spoofed("garbage", b"\xff", dead_lettered=True),
    _spoofed("a request", {"url": GOOD}),
    _spoofed("no job", {}),
    _spoofed("an empty job", {"job": {}}, field="$.job"),
    _spoofed("a text as job", {"job": "x"}, field="$.job"),
    _spoofed("something beside the job", {"job": job("x"), "x": 1}),
    _spoofed("the job of another", {"job": job("another")}, field="$.url", result_id="another"),
    _spoofed("an id with a newline", {"job": job("a\nb")}, field="$.id"),
    _spoofed("a long id", {"job": job("a" * 100_000)}, field="$.id"),
    _spoofed("a path as id", {"job": job("../../x")}, field="$.id"),
    _spoofed("a member of nothing", {"job": job("a/0")}, field="$.id"),
    _spoofed(
        "a member beyond the batch",
        {"job": job("a/7", batch={"id": "a", "index": 7, "size": 2})},
        field="$.job.batch",
    ),
    _spoofed(
        "a member of another batch",
        {"job": job("a/0", batch={"id": "b", "index": 0, "size": 2})},
        field="$.job.batch",
    ),
    _spoofed("a long link", {"job": job("l", url="https://" + "a" * 100_000)}, field="$.job"),
    _spoofed("a time without zone", {"job": job("z", received_at="2020-01-01T00:00:00")}),
    _spoofed("too many attributes", {"job": job("t", attributes={"a": "b" * 9_999})}),
    _spoofed("a priority", {"job": job("q", priority=99)}, field="$.priority"),
)

_OTHER_TYPES = tuple(
    _with_header(
        f"type {kind}", "ce_type", f"io.clipmill.{kind}".encode(), to_json({"job": job("i")})
    )
    for kind in ("video.validated.v1", "video.selected.v1", "request.finished.v1", "x", "")
)

HOSTILE_RECORDS: tuple[HostileRecord, ...] = (
    *_UNDECODABLE,
    *_NO_OBJECT,
    *_wrong_fields(),
    *_wrong_options(),
    *_foreign_fields(),
    *_CONTRADICTIONS,
    *_HEADERS,
    *_SPOOFED,
    *_OTHER_TYPES,
)

BAD_LINKS = {
    kind: f"https://vm.tiktok.com/{short_code(video_id(serial=700), kind)}/"
    for kind in ("dead", "loop", "outside", "loopback", "home", "login", "live")
}
"""Short links without a valid target; each request fails."""

ODD_REQUESTS: dict[str, bytes] = {
    "mark": b"\xef\xbb\xbf" + to_json({"id": "mark", "url": GOOD, "action": "info"}),
    "42": to_json({"id": 42, "url": GOOD, "action": "info"}),
    "both-halves": rb'{"id": "both-halves", "attributes": {"a": "\ud83d\ude00"}, "action": "info",'
    b'"url": "' + GOOD.encode() + b'"}',
}
"""Unusual requests that complete, by the id of their results."""

HARMLESS: dict[str, Headers] = {
    "no version": (("ce_specversion", b"\xff"),),
    "odd id": (("ce_id", b"\xff\x00\n"),),
    "long id": (("ce_id", b"a" * 500_000),),
    "odd type": (("ce_type", b"../../\x00"),),
    "odd trace": (("traceparent", b"00-zz-zz-zz"),),
    "zero trace": (("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"),),
    "long trace": (("traceparent", b"0" * 500_000),),
    "odd correlation": (("ce_correlationid", b"somebody/else\n"),),
    "odd content type": (("content-type", b"text/plain; charset=\xff"),),
    "due and target": (("clipmill_due", b"1e309"), ("clipmill_target", b"deadletters")),
    "many": tuple((f"h{number}", b"v" * 100) for number in range(2_000)),
    "empty name": (("", b""),),
}
"""Headers that are ignored: the request completes."""
