"""AsyncAPI 3.0 document: topics, messages, and their producers and consumers."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.contract.components import REFERENCE, message_schemas
from schemas.contract.json_schema import COMMAND, MESSAGES, REQUEST, RESULT, Message
from streams.cluster.topic_admin import topic_config
from streams.contract.headers import (
    CLOUD_EVENT_TRAIT,
    CORRELATION_TRAIT,
    DEAD_LETTER_HEADERS,
    OPTIONAL_CLOUD_EVENT_TRAIT,
)
from streams.contract.topology import EXTERNAL_PARTIES, Party, all_parties, kinds_of, messages_on
from streams.envelope import JSON, TYPE_PREFIX
from streams.settings import KafkaSettings
from streams.stage import Stage, own_topics
from streams.topics import DEADLETTERS, PREFIX, REQUESTS, RESULTS, TOPICS, Topic

BINDING_VERSION = "0.5.0"
DEAD_LETTER_NAME = "dead-letter"

MessagesOn = Mapping[Topic, Sequence[Message]]

REPLIES = "replies"
"""Channel of the reply topics of clients."""

REQUEST_PRODUCERS = frozenset({"client", "ledger"})
"""Parties that produce requests."""

_DESCRIPTION = """\
clipmill turns video URLs into files. A client publishes requests and consumes results; the other
topics connect the stages, and are documented for observing, replaying and extending them.
`send` and `receive` are from the view of the party that an operation is named after. Topic names,
partitions and replicas are the defaults; prefix and numbers are settings."""


def asyncapi(stages: Sequence[Stage]) -> dict[str, Any]:
    kafka = KafkaSettings()
    found, kinds, topics = messages_on(stages), kinds_of(stages), own_topics(stages)
    messages = [*MESSAGES, *(each for topic in topics for each in found.get(topic, ()))]
    return {
        "asyncapi": "3.0.0",
        "id": "urn:clipmill:api:v1",
        "info": {
            "title": "clipmill",
            "version": "1.0.0",
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": JSON,
        "servers": {"kafka": {"host": kafka.bootstrap, "protocol": "kafka"}},
        "channels": {topic.name: _channel(topic, kafka, found) for topic in (*TOPICS, *topics)}
        | {REPLIES: _replies()},
        "operations": _operations(all_parties(stages), found),
        "components": {
            "messages": {each.name: _message(each, kinds) for each in messages}
            | {DEAD_LETTER_NAME: _dead_letter()},
            "messageTraits": {
                "cloudEvents": CLOUD_EVENT_TRAIT,
                "cloudEventsOptional": OPTIONAL_CLOUD_EVENT_TRAIT,
                "correlation": CORRELATION_TRAIT,
            },
            "schemas": message_schemas(messages),
        },
    }


def _names_on(topic: Topic, found: MessagesOn) -> list[str]:
    if topic is DEADLETTERS:
        return [DEAD_LETTER_NAME]
    return [each.name for each in found.get(topic, ())]


def _channel(topic: Topic, kafka: KafkaSettings, found: MessagesOn) -> dict[str, Any]:
    names = _names_on(topic, found)
    return {
        "address": topic.kafka_name(),
        "title": topic.name,
        "description": f"{topic.purpose} Key: {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.kafka_name(),
                "partitions": topic.partitions or kafka.partitions,
                "replicas": kafka.replication_factor,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _replies() -> dict[str, Any]:
    return {
        "address": None,
        "title": REPLIES,
        "description": (
            "A topic that a request names in `reply_to`, one of those in the setting "
            f"`kafka.reply_topics`; it gets the results instead of `{RESULTS.kafka_name()}`. "
            f"Key: {RESULTS.key}."
        ),
        "messages": {RESULT.name: {"$ref": f"#/components/messages/{RESULT.name}"}},
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    """Return the topic configuration in the types of the Kafka binding."""
    config = topic_config(topic)
    policy = config.pop("cleanup.policy").split(",")
    return {"cleanup.policy": policy} | {name: int(value) for name, value in config.items()}


def _message(message: Message, kinds: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    trait = "cloudEventsOptional" if message in (REQUEST, COMMAND) else "cloudEvents"
    return {
        "name": message.name,
        "title": message.name,
        "summary": message.summary,
        "contentType": JSON,
        "correlationId": {"location": "$message.header#/ce_correlationid"},
        "headers": _types(kinds.get(message.name, ())),
        "payload": {"$ref": f"{REFERENCE}{message.schema_name}"},
        "traits": [
            {"$ref": f"#/components/messageTraits/{each}"}
            for each in (trait, *(("correlation",) if message is RESULT else ()))
        ],
    }


def _types(kinds: Sequence[str]) -> dict[str, Any]:
    types = [TYPE_PREFIX + kind for kind in kinds]
    known = {"properties": {"ce_type": {"type": "string", "enum": types}}} if types else {}
    return {"type": "object", **known}


def _dead_letter() -> dict[str, Any]:
    return {
        "name": DEAD_LETTER_NAME,
        "title": DEAD_LETTER_NAME,
        "summary": "An unchanged record of any content; the headers name its origin.",
        "headers": DEAD_LETTER_HEADERS,
    }


def _operations(parties: Sequence[Party], found: MessagesOn) -> dict[str, Any]:
    return {
        f"{party.name}.{action}.{topic.name}": _operation(party, action, topic, found)
        for party in parties
        for action, topics in (("receive", party.reads), ("send", party.writes))
        for topic in topics
    }


def _operation(party: Party, action: str, topic: Topic, found: MessagesOn) -> dict[str, Any]:
    operation = {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": f"{party.name} {party.purpose}.",
        "tags": [{"name": party.name}],
        "messages": [
            {"$ref": f"#/channels/{topic.name}/messages/{name}"}
            for name in _names_on(topic, found)
            if _sends(party, action, topic, name)
        ],
    }
    if party.name == "client" and topic is REQUESTS:
        return operation | {"reply": _reply()}
    if party in EXTERNAL_PARTIES or action == "send":
        return operation
    group = {"type": "string", "const": f"{PREFIX}{party.name}"}
    return operation | {
        "bindings": {"kafka": {"groupId": group, "bindingVersion": BINDING_VERSION}}
    }


def _reply() -> dict[str, Any]:
    return {
        "address": {
            "location": "$message.payload#/reply_to",
            "description": f"Default: `{RESULTS.kafka_name()}`.",
        },
        "channel": {"$ref": f"#/channels/{REPLIES}"},
        "messages": [{"$ref": f"#/channels/{REPLIES}/messages/{RESULT.name}"}],
    }


def _sends(party: Party, action: str, topic: Topic, name: str) -> bool:
    """Return whether a party sends a message: requests are sent by clients and the ledger only."""
    if topic is not REQUESTS or action == "receive":
        return True
    return (party.name in REQUEST_PRODUCERS) == (name == REQUEST.name)
