"""Validation errors name the path of the field, the value found, and what is allowed."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import MalformedMessageError, decode, encode
from schemas.commands import Command
from schemas.request import Options, Request
from tests.unit.schemas.bodies import bodies, json_values

pytestmark = pytest.mark.untraced

URL = "https://www.tiktok.com/@a/video/1"
ID = (
    "allowed: 1 to 128 letters, digits and ._:~@+=- with a letter or digit at first, "
    "or an integer of 0 to 9223372036854775807"
)
TIME = "allowed: a time with its zone, such as 2026-12-01T18:00:00Z"
BYTES = "allowed: an integer of 1 to 9223372036854775807"
TEXT = "allowed: a text of at most 1024 characters"
TAG = "allowed: a language tag such as `en`, `en-US` or `zh-Hans`, or `all`"
YES = "got 'yes'; allowed: true or false"
NONE = "got 0 entries; allowed: a list of 1 to 2 entries"

REQUESTS: list[tuple[Any, str, str]] = [
    ([], "$", "got a list; allowed: an object"),
    ("x", "$", "got 'x'; allowed: an object"),
    (None, "$", "got null; allowed: an object"),
    ({"id": "a/b"}, "$.id", f"got 'a/b'; {ID}"),
    ({"id": ""}, "$.id", f"got ''; {ID}"),
    ({"id": "a\u202eb"}, "$.id", f"got 'a\\u202eb'; {ID}"),
    ({"id": "a" * 129}, "$.id", f"got '{'a' * 60}'… (129 characters); {ID}"),
    ({"id": "https://u:secret@h/p?token=1"}, "$.id", f"got 'https://h/p'; {ID}"),
    ({"id": 4.5}, "$.id", f"got 4.5; {ID}"),
    ({"id": True}, "$.id", f"got true; {ID}"),
    ({"id": -1}, "$.id", f"got -1; {ID}"),
    ({"id": 10**30}, "$.id", f"got 1{'0' * 30}; {ID}"),
    ({"id": ["a"]}, "$.id", f"got a list; {ID}"),
    ({"id": {}}, "$.id", f"got an object; {ID}"),
    ({"url": 7}, "$.url", "got 7; allowed: a text"),
    ({"url": [URL]}, "$.url", "got a list; allowed: a text"),
    ({"urls": URL}, "$.urls", f"got '{URL}'; allowed: a list of 1 to 1000 entries"),
    ({"urls": []}, "$.urls", "got 0 entries; allowed: a list of 1 to 1000 entries"),
    ({"urls": [URL] * 1_001}, "$.urls", "got 1001 entries; allowed: a list of 1 to 1000 entries"),
    ({"action": "delete"}, "$.action", "got 'delete'; allowed: one of download, info, list"),
    ({"action": None}, "$.action", "got null; allowed: one of download, info, list"),
    ({"options": "best"}, "$.options", "got 'best'; allowed: an object"),
    ({"deadline": "2026-12-01"}, "$.deadline", f"got '2026-12-01'; {TIME}"),
    ({"deadline": "2026-12-01T18:00:00"}, "$.deadline", f"got '2026-12-01T18:00:00'; {TIME}"),
    ({"deadline": "2026-12-01T18:00Z"}, "$.deadline", f"got '2026-12-01T18:00Z'; {TIME}"),
    ({"deadline": "soon"}, "$.deadline", f"got 'soon'; {TIME}"),
    ({"deadline": 1_793_000_000}, "$.deadline", f"got 1793000000; {TIME}"),
    ({"priority": 10}, "$.priority", "got 10; allowed: an integer of 0 to 9"),
    ({"priority": 1.5}, "$.priority", "got 1.5; allowed: an integer of 0 to 9"),
    ({"priority": "5"}, "$.priority", "got '5'; allowed: an integer of 0 to 9"),
    ({"attributes": []}, "$.attributes", "got a list; allowed: an object of at most 32 entries"),
    ({"attributes": {"a": 1}}, "$.attributes.a", f"got 1; {TEXT}"),
    ({"attributes": {"a b": None}}, "$.attributes['a b']", f"got null; {TEXT}"),
    ({"attributes": {"a": "s" * 1_025}}, "$.attributes.a", f"got 1025 characters; {TEXT}"),
    (
        {"attributes": {"": "a"}},
        "$.attributes",
        "got the name ''; allowed as name: a text of 1 to 64 characters",
    ),
    (
        {"attributes": {str(number): "" for number in range(33)}},
        "$.attributes",
        "got 33 entries; allowed: an object of at most 32 entries",
    ),
    ({"reply_to": 5}, "$.reply_to", "got 5; allowed: a text of 1 to 249 characters"),
    ({"reply_to": ""}, "$.reply_to", "got ''; allowed: a text of 1 to 249 characters"),
    (
        {"retry_of": "r" * 161},
        "$.retry_of",
        (
            "got 161 characters; allowed: a text of at most 160 characters,"
            " or an integer of 0 to 9223372036854775807"
        ),
    ),
    (
        {"cookies": "x"},
        "$.cookies",
        (
            "unknown field; allowed: id, url, urls, action, options, deadline, priority,"
            " attributes, retry_of, reply_to"
        ),
    ),
    (
        {"options": {"proxy": "x"}},
        "$.options.proxy",
        (
            "unknown field; allowed: quality, container, codec, audio_only, audio, watermark,"
            " max_bytes, degrade, refresh, sidecars, subtitles, automatic_subtitles,"
            " subtitle_formats, embed_metadata, limit"
        ),
    ),
    (
        {"options": {"quality": "8k"}},
        "$.options.quality",
        "got '8k'; allowed: one of 1080p, 360p, 480p, 720p, best, worst",
    ),
    (
        {"options": {"container": 1}},
        "$.options.container",
        "got 1; allowed: one of any, mp4, webm",
    ),
    (
        {"options": {"codec": "av1"}},
        "$.options.codec",
        "got 'av1'; allowed: one of any, h264, h265",
    ),
    (
        {"options": {"audio_only": "yes"}},
        "$.options.audio_only",
        "got 'yes'; allowed: true or false",
    ),
    (
        {"options": {"audio": "music"}},
        "$.options.audio",
        "got 'music'; allowed: one of song, video",
    ),
    (
        {"options": {"watermark": True}},
        "$.options.watermark",
        "got true; allowed: one of allow, avoid",
    ),
    ({"options": {"max_bytes": 0}}, "$.options.max_bytes", f"got 0; {BYTES}"),
    ({"options": {"max_bytes": 10**30}}, "$.options.max_bytes", f"got 1{'0' * 30}; {BYTES}"),
    ({"options": {"degrade": 1}}, "$.options.degrade", "got 1; allowed: true or false"),
    ({"options": {"refresh": None}}, "$.options.refresh", "got null; allowed: true or false"),
    (
        {"options": {"sidecars": "nfo"}},
        "$.options.sidecars",
        "got 'nfo'; allowed: a list of at most 3 entries",
    ),
    (
        {"options": {"sidecars": ["nfo", "x"]}},
        "$.options.sidecars[1]",
        "got 'x'; allowed: one of info, nfo, thumbnail",
    ),
    (
        {"options": {"subtitles": "en"}},
        "$.options.subtitles",
        "got 'en'; allowed: a list of at most 32 entries",
    ),
    (
        {"options": {"subtitles": ["en"] * 33}},
        "$.options.subtitles",
        "got 33 entries; allowed: a list of at most 32 entries",
    ),
    ({"options": {"subtitles": ["en", ""]}}, "$.options.subtitles[1]", f"got ''; {TAG}"),
    ({"options": {"subtitles": ["../en"]}}, "$.options.subtitles[0]", f"got '../en'; {TAG}"),
    ({"options": {"subtitles": ["e.n"]}}, "$.options.subtitles[0]", f"got 'e.n'; {TAG}"),
    ({"options": {"subtitles": [5]}}, "$.options.subtitles[0]", f"got 5; {TAG}"),
    (
        {"options": {"subtitles": ["\u202een"]}},
        "$.options.subtitles[0]",
        f"got '\\u202een'; {TAG}",
    ),
    (
        {"options": {"subtitles": ["e" * 10_000]}},
        "$.options.subtitles[0]",
        f"got '{'e' * 60}'… (10000 characters); {TAG}",
    ),
    ({"options": {"automatic_subtitles": "yes"}}, "$.options.automatic_subtitles", YES),
    (
        {"options": {"subtitle_formats": ["vtt", "ass"]}},
        "$.options.subtitle_formats[1]",
        "got 'ass'; allowed: one of srt, vtt",
    ),
    ({"options": {"subtitle_formats": []}}, "$.options.subtitle_formats", NONE),
    (
        {"options": {"embed_metadata": 1}},
        "$.options.embed_metadata",
        "got 1; allowed: true or false",
    ),
    ({"options": {"limit": 0}}, "$.options.limit", "got 0; allowed: an integer of 1 to 1000"),
]
NAMES = "cancel, retry, refresh, open_breaker, reset_breaker, resume_stage, record_order"
ANY_ID = "allowed: a text of 1 to 176 characters, or an integer of 0 to 9223372036854775807"
COMMANDS: list[tuple[Any, str, str]] = [
    ([], "$", "got a list; allowed: an object"),
    ({}, "$.command", f"is missing; allowed: one of {NAMES}"),
    ({"command": "stop"}, "$.command", f"got 'stop'; allowed: one of {NAMES}"),
    ({"command": 7}, "$.command", f"got 7; allowed: one of {NAMES}"),
    ({"command": "cancel"}, "$.request_id", f"is missing; {ANY_ID}"),
    ({"command": "cancel", "request_id": ""}, "$.request_id", f"got ''; {ANY_ID}"),
    ({"command": "cancel", "request_id": 1.5}, "$.request_id", f"got 1.5; {ANY_ID}"),
    (
        {"command": "cancel", "request": "x"},
        "$.request",
        "unknown field; allowed: id, by, request_id",
    ),
    (
        {"command": "cancel", "request_id": "a", "by": 1},
        "$.by",
        "got 1; allowed: a text of at most 200 characters",
    ),
    ({"command": "retry", "request_id": "a", "new_id": "a/b"}, "$.new_id", f"got 'a/b'; {ID}"),
    (
        {"command": "retry", "request_id": "a", "options": {"audio_only": None}},
        "$.options.audio_only",
        "got null; allowed: true or false",
    ),
    ({"command": "refresh"}, "$.video", "is missing; allowed: a text of 1 to 200 characters"),
]


@pytest.mark.parametrize(("body", "path", "reason"), REQUESTS, ids=lambda each: str(each)[:50])
def test_invalid_request_error_has_path_value_and_allowed(
    body: Any, path: str, reason: str
) -> None:
    assert path_and_reason(body, Request) == (path, reason)


@pytest.mark.parametrize(("body", "path", "reason"), COMMANDS, ids=lambda each: str(each)[:50])
def test_invalid_command_error_has_path_value_and_allowed(
    body: Any, path: str, reason: str
) -> None:
    assert path_and_reason(body, Command) == (path, reason)


def test_cases_cover_every_field() -> None:
    paths = {path.partition("[")[0] for _, path, _ in REQUESTS}
    fields = {f"$.{name}" for name in Request.__struct_fields__}
    assert fields <= paths
    assert {f"$.options.{name}" for name in Options.__struct_fields__} <= paths


def path_and_reason(body: Any, kind: Any) -> tuple[str, str]:
    with pytest.raises(MalformedMessageError) as caught:
        decode(encode(body), kind)
    return caught.value.field, caught.value.reason


VALUES: list[Any] = [
    *(None, True, False, 0, -1, 5, 1.5, 1e300, 10**30, -(10**30), "", "5", "a/b", "x" * 5_000),
    *([], {}, [None], {"a": None}, {"": ""}, ["x"] * 1_001, "2026-12-01", "\x00", "😀"),
]
NEEDED = {"order": "resolve"}
"""Values of required fields that are not any text."""

KINDS: list[Any] = [Request, Options, *get_args(Command)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_any_value_of_any_field_is_accepted_or_rejected_by_its_path(kind: Any) -> None:
    config, accepted = kind.__struct_config__, 0
    fields = msgspec.structs.fields(kind)
    needed = {each.name: NEEDED.get(each.name, "a") for each in fields if each.required}
    tag = {config.tag_field: config.tag} if config.tag_field else {}
    for field in kind.__struct_fields__:
        for value in VALUES:
            error = error_of(tag | needed | {field: value}, kind)
            if error is None:
                accepted += 1
                continue
            assert error.field.startswith(f"$.{field}"), (value, error)
            assert "; allowed" in error.reason, (value, error)
            assert len(error.reason) < 300, (value, error)
    assert accepted > 0


def error_of(body: Any, kind: Any) -> MalformedMessageError | None:
    try:
        decode(encode(body), kind)
    except MalformedMessageError as error:
        return error
    return None


LONE_SURROGATES = ["\\ud83d", "\\udc00", "a\\ud83d", "\\ude00\\ud83d"]


@pytest.mark.parametrize("half", LONE_SURROGATES)
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"id":"a","url":"%s"}', "$.url"),
        ('{"id":"a%s","url":"x"}', "$.id"),
        ('{"id":"a","urls":["x","%s"]}', "$.urls[1]"),
        ('{"url":"x","attributes":{"a":"%s"}}', "$.attributes.a"),
        ('{"url":"x","attributes":{"%s":"a"}}', "$.attributes"),
        ('{"url":"x","retry_of":"%s"}', "$.retry_of"),
        ('{"url":"x","%s":1}', "$"),
        ('{"url":"x","options":{"quality":"%s"}}', "$.options.quality"),
    ],
)
def test_lone_surrogate_is_rejected_by_its_path(text: str, path: str, half: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode((text % half).encode(), Request)
    assert caught.value.field == path
    assert "half of a surrogate pair" in caught.value.reason
    str(caught.value).encode()


def test_surrogate_pair_is_one_character() -> None:
    body = b'{"url":"x","attributes":{"\\ud83d\\ude00":"\\ud83d\\ude00"}}'
    assert decode(body, Request).attributes == {"😀": "😀"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000])
def test_number_that_is_not_json_is_rejected_by_its_path(number: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode(b'{"url":"x","id":"a","priority":%s}' % number.encode(), Request)
    assert caught.value.field == "$.priority"


@settings(max_examples=300, deadline=None)
@given(
    body=bodies(Request),
    field=st.sampled_from((*Request.__struct_fields__, "x")),
    value=json_values,
)
def test_diagnosis_and_decoder_agree(body: dict[str, Any], field: str, value: Any) -> None:
    encoded = encode(body | {field: value})
    try:
        fast: Request | None = msgspec.json.decode(encoded, type=Request)
    except msgspec.ValidationError:
        fast = None
    error = error_of(body | {field: value}, Request)
    is_integer_id = error is None and fast is None
    assert not is_integer_id or (field in {"id", "retry_of"} and type(value) is int)
    assert fast is None or (error is None and decode(encoded, Request) == fast)
    assert error is None or "; allowed" in error.reason
