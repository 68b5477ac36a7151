import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator

from agents.pipeline.events import delay_headers
from schemas.contract import examples
from schemas.contract.json_schema import MESSAGES
from streams.cluster.topic_admin import topic_config
from streams.contract.asyncapi import DEAD_LETTER_NAME, asyncapi
from streams.contract.headers import (
    CLOUD_EVENT,
    CLOUD_EVENT_TRAIT,
    DEAD_LETTER_HEADERS,
    OPTIONAL,
    WAITING,
)
from streams.contract.topology import all_parties, messages_on
from streams.envelope import seal
from streams.records import Header, Incoming
from streams.runtime.processor import dead_letter
from streams.settings import KafkaSettings
from streams.stage import Stage, StageMessage, load_stages, own_topics
from streams.topics import TOPICS, VALIDATED, Topic
from tests.unit.schemas.validators import errors

SPECIFICATION = json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_text())
STAGES = load_stages()
PARTIES = all_parties(STAGES)
DOCUMENT = asyncapi(STAGES)
every_topic = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)


def resolve(reference: str) -> Any:
    """Resolve a reference inside the document."""
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for each in node for found in references(each)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [found for each in node.values() for found in references(each)]


def header_texts(headers: tuple[Header, ...]) -> dict[str, str]:
    return {name: value.decode() for name, value in headers}


def test_document_is_valid_asyncapi() -> None:
    problems = Draft7Validator(SPECIFICATION).iter_errors(DOCUMENT)
    assert [f"{problem.json_path}: {problem.message[:200]}" for problem in problems] == []


@pytest.mark.parametrize(
    "path",
    [("channels", "requests"), ("operations", "client.send.requests"), ("info",)],
    ids=lambda path: path[0],
)
def test_asyncapi_schema_rejects_unknown_fields(path: tuple[str, ...]) -> None:
    document = asyncapi(STAGES)
    node = document
    for part in path:
        node = node[part]
    node["unknown"] = 1
    assert not Draft7Validator(SPECIFICATION).is_valid(document)


def test_every_reference_resolves_inside_the_document() -> None:
    found = references(DOCUMENT)
    assert all(reference.startswith("#/") and resolve(reference) for reference in found)
    assert len(set(found)) > len(TOPICS)


def test_every_schema_is_the_payload_of_a_message() -> None:
    messages = DOCUMENT["components"]["messages"]
    own = {each.name for topic in own_topics(STAGES) for each in messages_on(STAGES)[topic]}
    assert messages.keys() == {message.name for message in MESSAGES} | {DEAD_LETTER_NAME} | own
    for message in MESSAGES:
        payload = resolve(messages[message.name]["payload"]["$ref"])
        assert payload["title"] == message.name


@every_topic
def test_channel_matches_the_created_topic(topic: Topic) -> None:
    channel = DOCUMENT["channels"][topic.name]
    binding = channel["bindings"]["kafka"]
    assert channel["address"] == binding["topic"] == topic.kafka_name()
    assert channel["description"].startswith(topic.purpose)
    assert topic.key in channel["description"]
    assert binding["partitions"] == (topic.partitions or KafkaSettings().partitions)
    config = binding["topicConfiguration"]
    policies = ",".join(config["cleanup.policy"])
    documented = {name: str(value) for name, value in config.items()} | {"cleanup.policy": policies}
    assert documented == topic_config(topic)


def test_every_topic_has_a_channel() -> None:
    assert list(DOCUMENT["channels"]) == [
        *(topic.name for topic in (*TOPICS, *own_topics(STAGES))),
        "replies",
    ]


def test_request_operation_names_its_reply_channel() -> None:
    reply = DOCUMENT["operations"]["client.send.requests"]["reply"]
    assert resolve(reply["channel"]["$ref"])["address"] is None
    assert [resolve(each["$ref"]) for each in reply["messages"]]
    assert reply["address"]["location"] == "$message.payload#/reply_to"


@every_topic
def test_every_channel_has_messages(topic: Topic) -> None:
    assert DOCUMENT["channels"][topic.name]["messages"]


def test_operations_use_the_messages_of_their_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        messages = resolve(channel)["messages"]
        named = [message["$ref"] for message in operation["messages"]]
        assert named
        assert {each.removeprefix(f"{channel}/messages/") for each in named} <= messages.keys()


def test_the_client_sends_requests_and_receives_results() -> None:
    client = {
        name: [message["$ref"].rpartition("/")[2] for message in operation["messages"]]
        for name, operation in DOCUMENT["operations"].items()
        if name.startswith("client.")
    }
    assert client == {
        "client.send.requests": ["request"],
        "client.send.commands": ["command"],
        "client.receive.results": ["result"],
        "client.receive.progress": ["progress"],
        "client.receive.audit": ["audit-record"],
        "client.receive.signals": [
            "breaker-state",
            "rate-state",
            "account-state",
            "cache-state",
            "engine-state",
            "media-host-wait",
            "cancel-signal",
            "refresh-signal",
            "intake-signal",
        ],
    }


def test_delay_stage_sends_pending_links_to_requests() -> None:
    (message,) = DOCUMENT["operations"]["delay.send.requests"]["messages"]
    assert message["$ref"].endswith("/pending-link")


def test_stages_name_their_consumer_group() -> None:
    groups = {
        name.partition(".")[0]: operation["bindings"]["kafka"]["groupId"]["const"]
        for name, operation in DOCUMENT["operations"].items()
        if "bindings" in operation
    }
    assert groups == {stage.name: f"clipmill.{stage.name}" for stage in load_stages()}


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.name)
def test_each_party_has_an_operation_per_topic(party: Any) -> None:
    actions = [
        (operation["action"], operation["channel"]["$ref"].rpartition("/")[2])
        for operation in DOCUMENT["operations"].values()
        if operation["tags"] == [{"name": party.name}]
    ]
    assert actions == [
        *(("receive", topic.name) for topic in party.reads),
        *(("send", topic.name) for topic in party.writes),
    ]


@pytest.mark.parametrize("has_all_headers", [False, True], ids=["required headers", "all headers"])
def test_sealed_record_has_the_documented_headers(*, has_all_headers: bool) -> None:
    now = datetime(2026, 11, 2, tzinfo=UTC)
    more: dict[str, Any] = {"cause_id": "0", "expires": now} if has_all_headers else {}
    record = seal(
        VALIDATED,
        "key",
        b"{}",
        kind="video.validated.v1",
        step="validation",
        event_id="1",
        request_id="1",
        trace_id="a" * 32,
        extra=delay_headers(now + timedelta(seconds=5), VALIDATED) if has_all_headers else (),
        **more,
    )
    headers = header_texts(record.headers)
    assert errors(CLOUD_EVENT_TRAIT["headers"], headers) == []
    named = CLOUD_EVENT.keys() | WAITING.keys()
    absent = {*OPTIONAL, *WAITING} if not has_all_headers else {"tracestate"}
    assert headers.keys() == named - absent


def test_header_schema_rejects_missing_and_wrong_headers() -> None:
    assert errors(CLOUD_EVENT_TRAIT["headers"], {"ce_id": "1"})
    assert errors(CLOUD_EVENT_TRAIT["headers"], {"ce_specversion": "0.3"})


def test_dead_letters_have_the_documented_headers() -> None:
    record = Incoming("requests", 0, 7, None, b"\xff", (("own", b"1"),), 1.5)
    headers = header_texts(dead_letter(record, ValueError("no"), "validation").headers)
    assert errors(DEAD_LETTER_HEADERS, headers) == []
    assert headers.keys() - {"own"} <= DEAD_LETTER_HEADERS["properties"].keys()


def test_examples_name_their_type() -> None:
    schema = DOCUMENT["components"]["messages"]["failure"]["headers"]
    assert schema["properties"]["ce_type"]["enum"] == ["io.clipmill.step.failed.v1"]
    assert examples.FAILURE.record.topic == "videos.validated"


class Cover(msgspec.Struct, frozen=True):
    """The cover of a video."""

    uri: str


def test_topic_and_message_of_a_stage_alone_are_documented() -> None:
    topic = Topic("covers", "video key", "Covers of videos.")
    stage = Stage(
        "cover",
        (VALIDATED,),
        open=lambda _: NotImplemented,
        on_bug=lambda *_: (),
        writes=(topic,),
        purpose="stores covers",
        messages=(StageMessage(topic, "cover.stored.v1", Cover),),
    )
    document = asyncapi([*STAGES, stage])
    problems = Draft7Validator(SPECIFICATION).iter_errors(document)
    assert [f"{problem.json_path}: {problem.message[:200]}" for problem in problems] == []
    assert list(document["channels"]["covers"]["messages"]) == ["cover-stored"]
    assert document["operations"]["cover.send.covers"]["summary"] == "cover stores covers."
    message = document["components"]["messages"]["cover-stored"]
    assert message["summary"] == "The cover of a video."
    assert message["headers"]["properties"]["ce_type"]["enum"] == ["io.clipmill.cover.stored.v1"]
    schema = document["components"]["schemas"]["cover-stored.v1"]
    assert schema["properties"]["uri"] == {"type": "string"}
