"""Page of the Kafka topics: key, retention, messages, producers, consumers."""

from docs.generate.markdown import code, codes, duration, head, page, source, table
from streams import topics
from streams.contract.topology import MESSAGES_ON, all_parties
from streams.stage import changelogs, load_stages
from streams.topics import HEARTBEATS, MESSAGE_BYTES_MAX, REQUEST_BYTES_MAX, TOPICS, Topic


def page_of_topics() -> str:
    """Return the page."""
    introduction = (
        f"All topics of {source(topics)}, named with the default prefix `kafka.topic_prefix`. "
        "`clipmill topics apply` creates them, `clipmill topics check` compares them "
        "([operations](../operations.md#topics)). The number of partitions is "
        "`kafka.partitions` where none is given. Messages: "
        "[`schemas/json`](../../schemas/json), [`asyncapi.json`](../asyncapi.json); rights: "
        f"[ACLs](../acls.md). A request has at most {REQUEST_BYTES_MAX:,} bytes, any record at "
        f"most {MESSAGE_BYTES_MAX:,}. All stages read `{HEARTBEATS.kafka_name()}`."
    )
    return page(
        head("Topics", introduction),
        *(_section(topic) for topic in TOPICS),
        "## Changelogs",
        "Of the tables of the stages: compacted, with the number of partitions of the stage's "
        "source topic.",
        table(
            ("topic", "rows"),
            [
                (code(each.kafka_name()), each.purpose)
                for each in sorted(changelogs(load_stages()), key=lambda topic: topic.name)
            ],
        ),
    )


def _section(topic: Topic) -> str:
    parties = all_parties(load_stages())
    facts = {
        "key": topic.key,
        "messages": ", ".join(
            f"[{each.name}](../../schemas/json/{each.name}.v1.json)"
            for each in MESSAGES_ON.get(topic, ())
        ),
        "cleanup": _cleanup(topic),
        "partitions": str(topic.partitions or ""),
        "produced by": codes(party.name for party in parties if topic in party.writes),
        "consumed by": "all stages"
        if topic is HEARTBEATS
        else codes(party.name for party in parties if topic in party.reads),
    }
    rows = [(name, value) for name, value in facts.items() if value]
    return f"## {topic.kafka_name()}\n\n{topic.purpose}\n\n{table(('', ''), rows)}"


def _cleanup(topic: Topic) -> str:
    retention = duration(topic.retention)
    if not topic.compacted:
        return f"deleted after {retention}"
    return f"compacted, and deleted after {retention}" if topic.expires else "compacted"
