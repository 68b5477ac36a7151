from pathlib import Path

import pytest

from streams.broker.config import MINIMUM_HEAP_MEGABYTES, Ports, java_command, server_properties


def parsed_properties() -> dict[str, str]:
    lines = server_properties(Ports(broker=21001, controller=21002)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def command(**changes: object) -> list[str]:
    options = {"heap_megabytes": 256, "temporary": Path("/d/tmp")} | changes
    return java_command(Path("/j/java"), [Path("/c/a.jar"), Path("/c/b.jar")], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listeners", "PLAINTEXT://127.0.0.1:21001,CONTROLLER://127.0.0.1:21002"),
        ("advertised.listeners", "PLAINTEXT://127.0.0.1:21001"),
        ("controller.quorum.voters", "1@127.0.0.1:21002"),
        ("auto.create.topics.enable", "false"),
        ("offsets.retention.minutes", "43200"),
        ("message.max.bytes", "2097152"),
    ],
)
def test_server_property(name: str, value: str) -> None:
    assert parsed_properties()[name] == value


def test_every_address_is_loopback() -> None:
    addresses = [
        part for value in parsed_properties().values() for part in value.split(",") if ":" in part
    ]
    assert addresses
    assert all("127.0.0.1:" in address for address in addresses)


def test_largest_message_can_be_replicated_and_fits_a_segment() -> None:
    largest = int(parsed_properties()["message.max.bytes"])
    assert int(parsed_properties()["replica.fetch.max.bytes"]) >= largest
    assert int(parsed_properties()["log.segment.bytes"]) > largest


def test_session_timeout_of_six_seconds_is_allowed() -> None:
    assert int(parsed_properties()["group.min.session.timeout.ms"]) <= 6000


def test_broker_session_timeout_covers_several_heartbeats() -> None:
    session = int(parsed_properties()["broker.session.timeout.ms"])
    assert session >= 3 * int(parsed_properties()["broker.heartbeat.interval.ms"])


def test_index_covers_a_whole_segment() -> None:
    # index.interval.bytes is 4096; a time index entry has 12 bytes.
    entries = int(parsed_properties()["log.segment.bytes"]) // 4096
    assert int(parsed_properties()["log.index.size.max.bytes"]) >= entries * 12


def test_java_command_line() -> None:
    line = command()
    assert line[:3] == ["/j/java", "-Xms64m", "-Xmx256m"]
    assert line[-2:] == ["-cp", "/c/a.jar:/c/b.jar"]
    assert "-Djava.io.tmpdir=/d/tmp" in line


def test_initial_heap_is_not_above_the_minimum_heap() -> None:
    assert MINIMUM_HEAP_MEGABYTES >= 64


@pytest.mark.parametrize("megabytes", [MINIMUM_HEAP_MEGABYTES - 1, 0, -1])
def test_too_small_heap_is_rejected(megabytes: int) -> None:
    with pytest.raises(ValueError, match="at least 96 MB"):
        command(heap_megabytes=megabytes)


def test_jar_path_with_a_path_separator_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"/c:d/a\.jar: its path"):
        java_command(
            Path("/j/java"), [Path("/c:d/a.jar")], heap_megabytes=256, temporary=Path("/t")
        )
