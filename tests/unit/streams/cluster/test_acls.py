import shlex
from dataclasses import replace

import pytest

from streams.cluster.acls import Acl, kafka_acls_commands, topic_acls
from streams.contract.role_acls import (
    admin_acls,
    client_acls,
    lag_acls,
    operator_acls,
    worker_acls,
)
from streams.stage import Stage, load_stages, stage_names
from streams.topics import (
    AUDIT,
    DEADLETTERS,
    DELAYS,
    ERRORS,
    EXTRACTED,
    HEARTBEATS,
    REQUESTS,
    RESULTS,
    SELECTED,
    SIGNALS,
    TOPICS,
    VALIDATED,
    Topic,
)

PREFIX = "clipmill."


def stage(name: str, *sources: Topic, tables: tuple[str, ...] = ()) -> Stage:
    return Stage(name, sources, open=lambda _: NotImplemented, on_bug=lambda *_: (), tables=tables)


def operations(acls: list[Acl]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {
        (acl.resource, acl.name): set(acl.operations) for acl in acls
    }
    assert len(found) == len(acls), "one ACL for each resource"
    return found


def test_worker_may_read_its_sources_and_write_the_topics_that_it_declares() -> None:
    found = operations(worker_acls(load_stages(["recovery"]), PREFIX))
    writes = {*DELAYS, REQUESTS, VALIDATED, EXTRACTED, SELECTED, AUDIT, DEADLETTERS, SIGNALS}
    for topic in TOPICS:
        wanted = {"DESCRIBE_CONFIGS"}
        wanted |= {"READ"} if topic in (ERRORS, SIGNALS, HEARTBEATS) else set()
        wanted |= {"WRITE"} if topic in writes else set()
        wanted |= set() if wanted & {"READ", "WRITE"} else {"DESCRIBE"}
        assert found.pop(("topic", topic.kafka_name(PREFIX))) == wanted, topic.name
    assert found.pop(("group", "clipmill.recovery")) == {"READ"}
    measured = ("download", "extraction", "ledger", "selection")
    assert found == {("group", f"clipmill.{name}"): {"DESCRIBE"} for name in measured}


def test_worker_that_sends_heartbeats_may_describe_all_stage_groups() -> None:
    found = operations(worker_acls(load_stages(("monitor",)), PREFIX))
    assert {"READ", "WRITE"} < found["topic", HEARTBEATS.kafka_name(PREFIX)]
    others = {
        name
        for (kind, name), allowed in found.items()
        if allowed == {"DESCRIBE"} and kind == "group"
    }
    assert others == {f"{PREFIX}{name}" for name in stage_names()} - {f"{PREFIX}monitor"}


def test_worker_may_read_and_write_the_changelogs_of_its_tables() -> None:
    found = operations(worker_acls([stage("ledger", tables=("rows",)), stage("delay")], PREFIX))
    assert found["topic", "clipmill.ledger-rows-changelog"] == {"READ", "WRITE", "DESCRIBE_CONFIGS"}
    members = {
        name for (kind, name), allowed in found.items() if kind == "group" and "READ" in allowed
    }
    assert members == {"clipmill.ledger", "clipmill.delay"}


def test_stage_without_declared_topics_may_write_every_topic() -> None:
    found = operations(worker_acls([stage("plugged", REQUESTS)], PREFIX))
    assert all("WRITE" in found["topic", topic.kafka_name(PREFIX)] for topic in TOPICS)


def test_topic_of_a_stage_alone_is_created_by_the_admin_and_written_by_the_worker() -> None:
    own = Topic("covers", "video key", "Covers of videos.")
    plugged = replace(stage("cover", REQUESTS), writes=(own,))
    name = ("topic", own.kafka_name(PREFIX))
    assert operations(worker_acls([plugged], PREFIX))[name] == {"WRITE", "DESCRIBE_CONFIGS"}
    assert "CREATE" in operations(admin_acls([plugged], PREFIX))[name]


@pytest.mark.parametrize("acls", [worker_acls, admin_acls])
def test_admin_may_create_all_topics_and_a_worker_none(acls: object) -> None:
    found = operations(acls(load_stages(), PREFIX))  # type: ignore[operator]
    creating = {name for (_, name), allowed in found.items() if "CREATE" in allowed}
    topics = {name for kind, name in found if kind == "topic"}
    assert creating == (topics if acls is admin_acls else set())


def test_client_may_write_requests_and_read_results_in_its_groups() -> None:
    found = operations(client_acls("p.", ("mine",)))
    assert found["topic", "p.requests.v1"] == {"WRITE"}
    assert found["topic", "p.results.v1"] == {"READ"}
    assert found["group", "mine"] == {"READ"}
    assert not any(kind == "group" for kind, _ in operations(client_acls("p.")))


def test_operator_may_replay_to_every_source_topic() -> None:
    found = operations(operator_acls(PREFIX))
    sources = {topic for each in load_stages() for topic in each.sources}
    for topic in sources:
        assert "WRITE" in found["topic", topic.kafka_name(PREFIX)]
    assert found["transactional-id", "clipmill.deadletters-replay"] == {"WRITE"}


def test_console_may_describe_every_group_and_source_topic() -> None:
    stages = load_stages()
    found = operations(lag_acls(stages, PREFIX))
    groups = {("group", f"{PREFIX}{each.name}") for each in stages}
    sources = {("topic", topic.kafka_name(PREFIX)) for each in stages for topic in each.sources}
    assert found == {key: {"DESCRIBE"} for key in groups | sources}


def test_commands_add_each_operation_on_each_resource() -> None:
    acls = [
        *topic_acls("it's ", reads=(RESULTS,), writes=(REQUESTS,)),
        Acl("topic", "more", ("DESCRIBE", "DESCRIBE_CONFIGS")),
        Acl("topic", "other", ("READ",)),
        Acl("group", "g", ("READ",)),
    ]
    commands = kafka_acls_commands(acls, "User:a b", "h:1")
    found = set()
    for command in commands:
        words = shlex.split(command.replace("\\\n", ""))
        assert words[:4] == ["kafka-acls.sh", "--bootstrap-server", "h:1", "--add"]
        assert words[4:6] == ["--allow-principal", "User:a b"]
        options = list(zip(words[6::2], words[7::2], strict=True))
        for option, name in options:
            if option != "--operation":
                found |= {(option, name, each) for kind, each in options if kind == "--operation"}
    assert found == {
        ("--topic", "it's results.v1", "Read"),
        ("--topic", "it's requests.v1", "Write"),
        ("--topic", "more", "Describe"),
        ("--topic", "more", "DescribeConfigs"),
        ("--topic", "other", "Read"),
        ("--group", "g", "Read"),
    }
