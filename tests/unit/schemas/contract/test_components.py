import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from schemas.contract import components
from schemas.contract.components import REFERENCE, message_schemas
from schemas.contract.json_schema import MESSAGES, Message, json_schema
from tests.unit.schemas.bodies import bodies, json_values
from tests.unit.schemas.validators import FORMATS, errors

pytestmark = pytest.mark.untraced

every_message = pytest.mark.parametrize("message", MESSAGES, ids=lambda each: each.name)
SCHEMAS = message_schemas(MESSAGES)
ROOT = {"components": {"schemas": SCHEMAS}}
FILES = {message.name: json_schema(message) for message in MESSAGES}
VALIDATORS = {
    message.name: Draft7Validator(
        ROOT | {"$ref": f"{REFERENCE}{message.schema_name}"}, format_checker=FORMATS
    )
    for message in MESSAGES
}


def accepts(message: Message, body: object) -> bool:
    return VALIDATORS[message.name].is_valid(body)


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_draft_07_without_2020_12_keywords(name: str) -> None:
    Draft7Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name].keys().isdisjoint({"$schema", "$id", "$defs"})
    assert not re.search(r"'(prefixItems|discriminator|\$defs)'", repr(SCHEMAS[name]))


def test_schema_names_are_valid_in_asyncapi_and_unique_ignoring_case() -> None:
    assert all(re.fullmatch(r"[\w.-]+", name, re.ASCII) for name in SCHEMAS)
    assert len({name.lower() for name in SCHEMAS}) == len(SCHEMAS)
    assert list(SCHEMAS) == sorted(SCHEMAS)


@every_message
def test_examples_of_the_schema_files_are_accepted(message: Message) -> None:
    examples = FILES[message.name]["examples"]
    assert SCHEMAS[message.schema_name]["examples"] == examples
    assert all(accepts(message, example) for example in examples)


def altered(body: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for bodies with one value, at any depth, replaced or removed."""
    if not isinstance(body, dict) or not body:
        return json_values
    return st.sampled_from(sorted(body)).flatmap(
        lambda name: st.one_of(
            st.just({key: value for key, value in body.items() if key != name}),
            altered(body[name]).map(lambda value: {**body, name: value}),
        )
    )


@every_message
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_components_accept_the_same_bodies_as_the_schema_files(message: Message, data: Any) -> None:
    body = data.draw(bodies(message.documented))
    broken = data.draw(altered(body))
    for each in (body, broken):
        assert accepts(message, each) == (errors(FILES[message.name], each) == [])


@pytest.mark.parametrize(
    ("headers", "is_valid"),
    [([["a", "MQ=="]], True), ([["a"]], False), ([["a", "MQ==", "c"]], False), ([["a", 1]], False)],
)
def test_a_tuple_keeps_its_length_and_types(headers: list[Any], is_valid: bool) -> None:
    (failure,) = (message for message in MESSAGES if message.name == "failure")
    body = json_schema(failure)["examples"][0]
    body["record"]["headers"] = headers
    assert accepts(failure, body) == is_valid


def test_two_schemas_with_one_name_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    def same_name(message: Message) -> dict[str, Any]:
        return {"$defs": {"Job": {"title": message.name}}}

    monkeypatch.setattr(components, "json_schema", same_name)
    with pytest.raises(ValueError, match="two different schemas are called Job"):
        message_schemas(MESSAGES)
