from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from schemas.codec import decode, encode
from schemas.request import Options, Request
from streams.cli.request_options import (
    ARGUMENTS,
    REQUEST_OPTIONS,
    ByteSize,
    field_options,
    request_fields,
    request_options,
)


@click.command()
@request_options
def echo(**given: Any) -> None:
    """Print the fields that were given."""
    click.echo(encode(request_fields(given)))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(echo, arguments, catch_exceptions=False)


def test_every_field_of_the_schema_has_an_option() -> None:
    own = {(field.name,) for field in msgspec.structs.fields(Request)} - {("options",)}
    nested = {("options", field.name) for field in msgspec.structs.fields(Options)}
    arguments = {(name,) for name in ARGUMENTS}
    assert {each.path for each in REQUEST_OPTIONS} == (own - arguments) | nested


def test_option_names_are_unique_and_have_help() -> None:
    assert len({each.name for each in REQUEST_OPTIONS}) == len(REQUEST_OPTIONS)
    assert all(each.attributes["help"] for each in REQUEST_OPTIONS)


class Extended(msgspec.Struct):
    """A schema with additional fields.

    Attributes:
        reply_to: where results go.
    """

    reply_to: Annotated[str, msgspec.Meta(max_length=5)] | None = None
    tries: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1


def test_additional_field_becomes_an_option() -> None:
    text, number = field_options(Extended)
    assert (text.flags, text.attributes["help"]) == ("--reply-to", "Where results go.")
    assert (number.attributes["type"].min, number.attributes["type"].max) == (1, 3)


def test_field_of_an_unsupported_type_raises() -> None:
    class Unsupported(msgspec.Struct):
        parts: list[str] = []

    with pytest.raises(TypeError, match="no option for `parts`"):
        field_options(Unsupported)


GIVEN: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    (["--id", "a"], {"id": "a"}),
    (["--action", "info"], {"action": "info"}),
    (
        ["--quality", "720p", "--container", "mp4"],
        {"options": {"quality": "720p", "container": "mp4"}},
    ),
    (
        ["--codec", "h265", "--watermark", "allow"],
        {"options": {"codec": "h265", "watermark": "allow"}},
    ),
    (["--audio-only"], {"options": {"audio_only": True}}),
    (["--audio-only", "--audio", "song"], {"options": {"audio_only": True, "audio": "song"}}),
    (["--no-degrade", "--refresh"], {"options": {"degrade": False, "refresh": True}}),
    (["--max-bytes", "1GiB", "--limit", "3"], {"options": {"max_bytes": 2**30, "limit": 3}}),
    (["--deadline", "2030-01-01"], {"deadline": "2030-01-01T00:00:00Z"}),
    (["--priority", "0"], {"priority": 0}),
    (
        ["--sidecar", "nfo", "--sidecar", "info"],
        {"options": {"sidecars": ["nfo", "info"]}},
    ),
    (["--embed-metadata"], {"options": {"embed_metadata": True}}),
    (
        ["--subtitle", "en", "--subtitle", "pt-BR", "--automatic-subtitles"],
        {"options": {"subtitles": ["en", "pt-BR"], "automatic_subtitles": True}},
    ),
    (["--subtitle-format", "srt"], {"options": {"subtitle_formats": ["srt"]}}),
    (["--attribute", "a=b=c", "--attribute", "d="], {"attributes": {"a": "b=c", "d": ""}}),
    (["--retry-of", "b/3"], {"retry_of": "b/3"}),
    (["--reply-to", "team.results"], {"reply_to": "team.results"}),
]


@pytest.mark.parametrize(("arguments", "fields"), GIVEN, ids=lambda each: str(each)[:40])
def test_options_become_request_fields(arguments: list[str], fields: dict[str, Any]) -> None:
    body = run(*arguments).output.encode()
    assert msgspec.json.decode(body) == fields
    decode(body, Request)


def test_cases_cover_every_option() -> None:
    used = {word.removeprefix("--no-").strip("-") for words, _ in GIVEN for word in words}
    assert used >= {each.flags.partition("/")[0].strip("-") for each in REQUEST_OPTIONS}


def test_a_deadline_may_be_a_time_span() -> None:
    before = datetime.now(UTC)
    deadline = decode(run("--deadline", "2h").output.encode(), Request).deadline
    assert deadline is not None
    assert before <= deadline - timedelta(hours=2) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("1", 1), ("0", 0), ("500M", 500_000_000), ("500MB", 500_000_000), ("1k", 1_000)),
        *(
            ("1GiB", 2**30),
            ("1Gi", 2**30),
            ("1.5 MiB", 1_572_864),
            ("0.1k", 100),
            ("2T", 2 * 10**12),
        ),
        ("999999999999999", 999_999_999_999_999),
    ],
)
def test_byte_size_is_parsed(text: str, size: int) -> None:
    assert ByteSize().convert(text, None, None) == size


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--max-bytes", "many"], "'many' is not a size; use bytes, or a unit as in 500M or 1GiB"),
        (["--max-bytes", "-1"], "'-1' is not a size"),
        (["--max-bytes", "1e9"], "'1e9' is not a size"),
        (["--max-bytes", "٣k"], "is not a size"),
        (["--deadline", "soon"], "nor a time span such as 2h or 3d"),
        (["--priority", "10"], "10 is not in the range 0<=x<=9"),
        (["--limit", "0"], "0 is not in the range"),
        (["--attribute", "a"], "'a' is not KEY=VALUE"),
        (["--attribute", "a=1", "--attribute", "a=2"], "--attribute repeats a key"),
        (["--watermark", "yes"], "'yes' is not one of"),
    ],
    ids=str,
)
def test_invalid_value_is_explained(arguments: list[str], text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert text in " ".join(result.output.split())
