import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.pipeline.request_parsing import read_request
from schemas.codec import MalformedMessageError, decode, encode
from schemas.contract.json_schema import (
    MESSAGES,
    REQUEST,
    RESULT,
    Message,
    json_schema,
    schema_files,
)
from schemas.errors import ClipmillError
from schemas.request import Request
from streams.envelope import Envelope
from tests.unit.schemas.bodies import bodies, json_values
from tests.unit.schemas.validators import check_schema, errors

pytestmark = pytest.mark.untraced

every_message = pytest.mark.parametrize("message", MESSAGES, ids=lambda each: each.name)
SLOW = (HealthCheck.too_slow,)
RESULT_KINDS = ("Completed", "Rejected", "Failed", "Expired", "Cancelled")
SCHEMAS = {message.name: json_schema(message) for message in MESSAGES}
URL = "https://www.tiktok.com/@a/video/1"


@every_message
def test_schema_is_valid_2020_12(message: Message) -> None:
    schema = SCHEMAS[message.name]
    check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:clipmill:schema:{message.name}:v1"


@every_message
def test_examples_are_valid_and_can_be_decoded(message: Message) -> None:
    examples = SCHEMAS[message.name]["examples"]
    assert examples
    for example in examples:
        assert errors(SCHEMAS[message.name], example) == []
        decode(encode(example), message.kind)


@every_message
def test_every_reference_resolves(message: Message) -> None:
    text = json.dumps(SCHEMAS[message.name])
    definitions = SCHEMAS[message.name]["$defs"]
    parts = text.split('"$ref": "#/$defs/')[1:]
    assert {part.partition('"')[0] for part in parts} <= definitions.keys()
    assert text.count('"$ref"') == len(parts)


@every_message
def test_missing_required_field_is_rejected_by_schema_and_codec(message: Message) -> None:
    schema = SCHEMAS[message.name]
    example = schema["examples"][0]
    required = _kind_of(schema, example)["required"]
    for name in required:
        body = {key: value for key, value in example.items() if key != name}
        assert errors(schema, body)
        if message is not REQUEST:
            with pytest.raises(MalformedMessageError):
                decode(encode(body), message.kind)


def _kind_of(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an example's kind, where a schema has several."""
    if "discriminator" not in schema:
        return schema if schema["required"] else {"required": ["url"]}
    name = schema["discriminator"]["mapping"][example[schema["discriminator"]["propertyName"]]]
    kind: dict[str, Any] = schema["$defs"][name.rpartition("/")[2]]
    return kind


@every_message
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_bodies_decode_validate_and_round_trip(message: Message, data: Any) -> None:
    body = data.draw(bodies(message.documented))
    written = encode(decode(encode(body), message.kind))
    assert encode(decode(written, message.kind)) == written
    if message is not REQUEST:
        assert errors(SCHEMAS[message.name], body) == []
        assert errors(SCHEMAS[message.name], json.loads(written)) == []


def _is_accepted(body: object) -> bool:
    """Return whether validation accepts a body as a request."""
    envelope = Envelope(
        id="1", type="", correlation_id=None, expires=None, trace_id="0" * 32, data=encode(body)
    )
    try:
        read_request(envelope)
    except ClipmillError:
        return False
    return True


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(body=bodies(Request))
def test_schema_and_validation_require_either_url_or_urls(body: dict[str, Any]) -> None:
    is_one = (body.get("url") is None) != (body.get("urls") is None)
    assert _is_accepted(body) == is_one
    assert (errors(SCHEMAS["request"], body) == []) == is_one


FIELDS = [*Request.__struct_fields__, "qualty"]


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(
    body=bodies(Request),
    field=st.sampled_from(FIELDS),
    value=json_values.filter(lambda value: not isinstance(value, list)),
)
def test_schema_and_validation_agree_on_any_value_of_any_field(
    body: dict[str, Any], field: str, value: object
) -> None:
    body = body | {field: value}
    assert _is_accepted(body) == (errors(SCHEMAS["request"], body) == [])


@pytest.mark.parametrize(
    ("extra", "path"),
    [
        ({"proxy": "http://a"}, "$.proxy"),
        ({"options": {"format": "best"}}, "$.options.format"),
        ({"options": {"cookiefile": "/etc/passwd"}}, "$.options.cookiefile"),
    ],
    ids=["of the request", "of the options", "an option of the extractor"],
)
def test_unknown_fields_are_rejected_by_schema_and_codec(extra: dict[str, Any], path: str) -> None:
    body = {"url": URL, **extra}
    (problem,) = errors(SCHEMAS["request"], body)
    assert problem.startswith(path.rpartition(".")[0])
    with pytest.raises(MalformedMessageError, match="unknown field") as caught:
        decode(encode(body), Request)
    assert caught.value.field == path


CLOSED = {"request", "pending-link", "command"}


@pytest.mark.parametrize(
    "message",
    [message for message in MESSAGES if message.name not in CLOSED],
    ids=lambda each: each.name,
)
def test_other_messages_accept_unknown_fields(message: Message) -> None:
    body = SCHEMAS[message.name]["examples"][0] | {"new_field": 1}
    assert errors(SCHEMAS[message.name], body) == []
    decode(encode(body), message.kind)


@pytest.mark.parametrize("number", [-1, 0, 42, 2**63 - 1, 2**63, 1.5, True])
def test_schema_and_validation_agree_on_numbers_as_ids(number: float) -> None:
    body = {"url": URL, "id": number, "retry_of": number}
    is_id = type(number) is int and 0 <= number < 2**63
    assert _is_accepted(body) == (errors(SCHEMAS["request"], body) == []) == is_id


def test_results_are_discriminated_by_status() -> None:
    schema = SCHEMAS["result"]
    mapping = schema["discriminator"]["mapping"]
    assert schema["discriminator"]["propertyName"] == "status"
    assert [each["$ref"] for each in schema["oneOf"]] == list(mapping.values())
    outcomes = {kind.lower(): f"#/$defs/{kind}" for kind in RESULT_KINDS}
    assert mapping == outcomes | {"batch_finished": "#/$defs/BatchFinished"}
    assert "anyOf" not in schema


def test_audit_record_outcome_is_a_result_or_null() -> None:
    schema = SCHEMAS["audit-record"]
    result, nothing = schema["properties"]["outcome"]["anyOf"]
    summary = {"$ref": "#/$defs/BatchFinished"}
    assert [*result["oneOf"], summary] == SCHEMAS["result"]["oneOf"]
    assert nothing == {"type": "null"}
    outcomes = SCHEMAS["result"]["$defs"].keys() - {"BatchFinished", "BatchCounts"}
    assert schema["$defs"].keys() >= outcomes


def test_audit_record_has_commands_about_requests_only() -> None:
    *commands, nothing = SCHEMAS["audit-record"]["properties"]["command"]["anyOf"]
    assert nothing == {"type": "null"}
    assert {"Cancel", "Retry"} <= SCHEMAS["audit-record"]["$defs"].keys()
    assert "ResumeStage" not in SCHEMAS["audit-record"]["$defs"]
    assert len(commands) == 1


def test_commands_are_discriminated_by_name() -> None:
    schema = SCHEMAS["command"]
    assert schema["discriminator"]["propertyName"] == "command"
    names = ["cancel", "retry", "refresh", "open_breaker", "reset_breaker", "resume_stage"]
    names.append("record_order")
    assert list(schema["discriminator"]["mapping"]) == names
    assert {example["command"] for example in schema["examples"]} == set(names)


@pytest.mark.parametrize("example", RESULT.examples, ids=lambda each: type(each).__name__)
def test_result_matches_its_own_kind_only(example: Any) -> None:
    schema = SCHEMAS["result"]
    body = json.loads(encode(example))
    matching = [
        kind
        for kind in (*RESULT_KINDS, "BatchFinished")
        if not errors({"$ref": f"#/$defs/{kind}", "$defs": schema["$defs"]}, body)
    ]
    assert matching == [type(example).__name__]
    assert type(decode(encode(body), RESULT.kind)) is type(example)


def test_opaque_json_has_no_type_but_a_description() -> None:
    described = SCHEMAS["extracted-video"]["$defs"]["Extraction"]["properties"]["raw"]
    assert described.keys() == {"description"}


@pytest.mark.parametrize("field", ["key", "value", "headers"])
def test_a_failed_record_is_base64(field: str) -> None:
    described = SCHEMAS["failure"]["$defs"]["FailedRecord"]["properties"][field]
    assert "base64" in json.dumps(described)


def test_every_message_has_its_own_file() -> None:
    files = schema_files()
    assert len(files) == len(MESSAGES)
    assert sorted(files) == sorted(f"{message.name}.v1.json" for message in MESSAGES)
    assert all(text.endswith("}\n") for text in files.values())
