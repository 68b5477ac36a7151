import json
import re
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from jsonschema import Draft7Validator

from streams.cli import cli
from streams.settings import Settings, setting_paths, variable_name
from streams.stage import GROUP
from streams.topics import MESSAGE_BYTES_MAX
from tests.unit.deploy.composition import PROJECT, composition, services, workers

SPECIFICATION = Path(__file__).parent / "compose-spec" / "compose-spec.json"
KAFKA: dict[str, Any] = composition()["services"]["kafka"]
every_service = pytest.mark.parametrize("service", services().values(), ids=list(services()))
every_worker = pytest.mark.parametrize("service", workers().values(), ids=list(workers()))


def parse(arguments: list[str]) -> dict[str, Any]:
    """Parse arguments with the real command line; raises click.UsageError."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), arguments[0])
        if found is None:
            raise click.UsageError(f"no command {arguments[0]}")
        command, arguments = found, arguments[1:]
    return command.make_context(command.name, list(arguments)).params


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def test_file_matches_the_compose_specification() -> None:
    problems = Draft7Validator(json.loads(SPECIFICATION.read_text())).iter_errors(composition())
    assert [f"{problem.json_path}: {problem.message}" for problem in problems] == []


def test_specification_rejects_unknown_keys() -> None:
    document = composition()
    document["services"]["kafka"]["memory_limit"] = "1g"
    assert not Draft7Validator(json.loads(SPECIFICATION.read_text())).is_valid(document)


def test_every_installed_stage_has_exactly_one_service() -> None:
    stages = [stage for each in workers().values() for stage in parse(each["command"])["stages"]]
    assert sorted(stages) == sorted(point.name for point in entry_points(group=GROUP))


def test_service_is_named_after_its_first_stage() -> None:
    for name, service in workers().items():
        assert parse(service["command"])["stages"][0] == name


@every_service
def test_commands_are_valid_on_the_command_line(service: dict[str, Any]) -> None:
    assert parse(service["command"])["bootstrap"] == "kafka:9092"


@every_worker
def test_health_endpoint_is_where_the_image_checks_it(service: dict[str, Any]) -> None:
    assert parse(service["command"])["http"] == "0.0.0.0:8080"


@pytest.mark.parametrize(
    "arguments",
    [["topics", "aply"], ["worker", "--http", ":1"], ["worker", "ledger", "--kafka", "a:1"]],
    ids=["unknown command", "no stage", "unknown option"],
)
def test_invalid_command_is_detected(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(arguments)


@every_service
def test_variables_are_settings_or_those_of_opentelemetry(service: dict[str, Any]) -> None:
    known = {variable_name(path) for path, _ in setting_paths()}
    assert {name for name in service["environment"] if not name.startswith("OTEL_")} <= known


@every_service
def test_shared_settings_are_set_everywhere(service: dict[str, Any]) -> None:
    assert "CLIPMILL_KAFKA__PARTITIONS" in service["environment"]
    assert service["environment"]["CLIPMILL_DATA_DIR"] == "/data"


@pytest.mark.parametrize("name", ["validation", "extraction", "download"])
def test_stages_that_reach_platforms_have_the_proxy_setting(name: str) -> None:
    assert services()[name]["environment"]["CLIPMILL_EGRESS__PROXY"] is None


@every_worker
def test_workers_start_after_the_topics_are_created(service: dict[str, Any]) -> None:
    assert service["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
    assert service["restart"] == "unless-stopped"


@every_worker
def test_workers_share_the_data_volume(service: dict[str, Any]) -> None:
    assert service["volumes"] == ["data:/data"]


@every_worker
def test_workers_have_a_grace_period_and_a_memory_limit(service: dict[str, Any]) -> None:
    assert seconds(service["stop_grace_period"]) > 2 * Settings().stage.shutdown_grace_seconds
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])


@every_service
def test_containers_have_no_capabilities(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@every_worker
def test_workers_publish_no_port(service: dict[str, Any]) -> None:
    assert "ports" not in service


def test_console_is_on_loopback_of_the_host_and_needs_a_token() -> None:
    console = services()["console"]
    assert console["profiles"] == ["console"]
    assert console["ports"] == ["127.0.0.1:8090:8090"]
    assert parse(console["command"])["http"] == "0.0.0.0:8090"
    assert console["environment"]["CLIPMILL_CONSOLE__TOKEN"] is None
    assert console["volumes"] == ["data:/data"]


@every_service
def test_all_services_use_one_image(service: dict[str, Any]) -> None:
    assert service["build"] == {"context": ".", "dockerfile": "deploy/Dockerfile"}
    assert (PROJECT / service["build"]["dockerfile"]).is_file()


def test_topics_are_created_when_kafka_is_healthy() -> None:
    topics = services()["topics"]
    assert topics["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert "restart" not in topics
    assert KAFKA["healthcheck"]["test"][0] == "CMD"


def test_kafka_has_the_release_of_the_embedded_broker() -> None:
    jars = (PROJECT / "streams" / "broker" / "jars.lock").read_text()
    found = re.search(r"/kafka-server-common-([\d.]+)\.jar", jars)
    assert found
    assert KAFKA["image"] == f"apache/kafka:{found[1]}"


def test_kafka_accepts_the_largest_message_and_creates_no_topics() -> None:
    settings = KAFKA["environment"]
    assert settings["KAFKA_MESSAGE_MAX_BYTES"] >= MESSAGE_BYTES_MAX
    assert settings["KAFKA_REPLICA_FETCH_MAX_BYTES"] >= MESSAGE_BYTES_MAX
    assert settings["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_listeners_are_consistent() -> None:
    settings = KAFKA["environment"]
    listeners = dict(each.split("://:") for each in settings["KAFKA_LISTENERS"].split(","))
    addresses = dict(
        each.split("://") for each in settings["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    protocols = settings["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    assert {each.partition(":")[0] for each in protocols} == listeners.keys()
    assert listeners.keys() - addresses.keys() == {settings["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert {name: each.rpartition(":")[2] for name, each in addresses.items()} == {
        name: port for name, port in listeners.items() if name in addresses
    }
    assert addresses[settings["KAFKA_INTER_BROKER_LISTENER_NAME"]] == "kafka:9092"
    quorum = f"{settings['KAFKA_NODE_ID']}@kafka:{listeners['CONTROLLER']}"
    assert settings["KAFKA_CONTROLLER_QUORUM_VOTERS"] == quorum


def test_kafka_is_published_on_loopback_only() -> None:
    (port,) = KAFKA["ports"]
    assert port == "127.0.0.1:9094:9094"
    assert "OUTSIDE://127.0.0.1:9094" in KAFKA["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_volumes_are_declared() -> None:
    document = composition()
    used = {
        volume.partition(":")[0]
        for service in document["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith("./")
    }
    assert used == document["volumes"].keys()


def test_commands_name_each_option_once() -> None:
    for service in services().values():
        options = [word for word in service["command"] if word.startswith("--")]
        assert len(options) == len(set(options))
        assert not [pair for pair in pairwise(service["command"]) if pair[0] == pair[1]]
