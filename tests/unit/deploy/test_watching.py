"""Prometheus, Alertmanager and Grafana of `docker compose --profile watch up`, as configured."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.watch.programs import program
from tests.unit.deploy.composition import PROJECT, composition, workers
from tests.unit.deploy.test_alerts import ALERTS

DEPLOY = PROJECT / "deploy"
GUIDE = PROJECT / "docs" / "monitoring.md"
WATCH: dict[str, dict[str, Any]] = {
    name: each
    for name, each in composition()["services"].items()
    if "watch" in each.get("profiles", ())
}
every_monitoring_service = pytest.mark.parametrize("service", WATCH.values(), ids=list(WATCH))

WRITTEN_BY_PROGRAM = "./deploy/grafana/boards"
"""Generated boards, which `test_boards` checks."""


def load(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / path).read_text())
    return document


PROMETHEUS = load("prometheus/prometheus.yml")
ALERTMANAGER = load("alertmanager/alertmanager.yml")
SOURCES = load("grafana/provisioning/datasources/clipmill.yml")["datasources"]
(PROVIDER,) = load("grafana/provisioning/dashboards/clipmill.yml")["providers"]
(JOB,) = PROMETHEUS["scrape_configs"]
EXAMPLES: list[dict[str, Any]] = [
    yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
]


def run(name: str, *arguments: str) -> str:
    """Return the output of a program of Prometheus, which must succeed."""
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ports(service: dict[str, Any]) -> set[str]:
    return {each.rpartition(":")[2] for each in service["ports"]}


def test_prometheus_accepts_its_configuration() -> None:
    run("promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_every_rule_file_is_loaded() -> None:
    folder = DEPLOY / "prometheus"
    loaded = {path for pattern in PROMETHEUS["rule_files"] for path in folder.glob(pattern)}
    assert loaded == {path for path in folder.glob("*.yml") if "groups:" in path.read_text()}


def test_alert_of_a_stalled_stage_fires_within_30_seconds() -> None:
    # `tests/unit/streams/runtime/test_heartbeats.py` shows that the metric rises within 20 s.
    intervals = [PROMETHEUS["global"][f"{each}_interval"] for each in ("scrape", "evaluation")]
    assert 20 + sum(int(each.removesuffix("s")) for each in intervals) <= 30
    (alert,) = [each for each in ALERTS if each["alert"] == "ClipmillHeartbeatMissed"]
    assert "for" not in alert


def test_every_container_of_every_stage_is_scraped() -> None:
    (discovery,) = JOB["dns_sd_configs"]
    assert (JOB["job_name"], discovery["type"]) == ("clipmill", "A")
    assert sorted(discovery["names"]) == sorted(workers())
    for worker in workers().values():
        assert worker["command"][-2:] == ["--http", f"0.0.0.0:{discovery['port']}"]


def test_alerts_are_sent_to_the_alertmanager_service() -> None:
    (managers,) = PROMETHEUS["alerting"]["alertmanagers"]
    (target,) = managers["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert port in ports(WATCH[name])


def test_data_sources_of_grafana_are_services() -> None:
    for source in SOURCES:
        name, _, port = source["url"].removeprefix("http://").partition(":")
        assert port in ports(WATCH[name])
    assert [source["uid"] for source in SOURCES if source.get("isDefault")] == ["prometheus"]
    (link,) = SOURCES[0]["jsonData"]["exemplarTraceIdDestinations"]
    assert link["datasourceUid"] in {source["uid"] for source in SOURCES}
    assert SOURCES[0]["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]


def test_boards_are_provisioned_from_their_mount() -> None:
    mounts = dict(volume.split(":")[:2] for volume in WATCH["grafana"]["volumes"])
    assert mounts[WRITTEN_BY_PROGRAM] == PROVIDER["options"]["path"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"


@every_monitoring_service
def test_monitoring_is_optional_bounded_and_on_loopback(service: dict[str, Any]) -> None:
    assert service["profiles"] == ["watch"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert re.fullmatch(r".+:v?\d+\.\d+\.\d+", service["image"])
    assert (service["cap_drop"], service["restart"]) == (["ALL"], "unless-stopped")
    assert all(each.startswith("127.0.0.1:") for each in service["ports"])


@every_monitoring_service
def test_mounted_files_exist_and_are_read_only(service: dict[str, Any]) -> None:
    for volume in service.get("volumes", []):
        source, _, mode = volume.split(":") if volume.startswith("./") else ("", "", "ro")
        assert mode == "ro"
        assert source == WRITTEN_BY_PROGRAM or (PROJECT / source).is_dir()


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_program_uses_its_mounted_configuration(name: str) -> None:
    mounts = dict(volume.split(":")[:2] for volume in WATCH[name]["volumes"])
    expected = f"--config.file={mounts[f'./deploy/{name}']}/{name}.yml"
    assert expected in WATCH[name]["command"]


def receivers(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document["receivers"]}


def secrets(node: Any) -> list[str]:
    """Return the paths of all files with secrets."""
    if isinstance(node, list):
        return [found for each in node for found in secrets(each)]
    if not isinstance(node, dict):
        return []
    own = [value for key, value in node.items() if key.endswith("_file")]
    return own + [found for each in node.values() for found in secrets(each)]


def test_default_configuration_notifies_no_receiver() -> None:
    assert ALERTMANAGER["route"]["receiver"] == "nobody"
    assert "routes" not in ALERTMANAGER["route"]
    assert receivers(ALERTMANAGER)["nobody"] == {"name": "nobody"}


def test_secrets_are_in_ignored_files() -> None:
    paths = secrets(ALERTMANAGER["receivers"])
    assert {Path(each).parent for each in paths} == {Path("/etc/alertmanager/secrets")}
    assert len(paths) == len(receivers(ALERTMANAGER)) - 1
    assert "/deploy/alertmanager/secrets/" in (PROJECT / ".gitignore").read_text().splitlines()
    assert all(each in GUIDE.read_text() for each in (Path(path).name for path in paths))


def write_configuration(changes: dict[str, Any], folder: Path) -> str:
    """Write the configuration merged with an example of the guide; return its path."""
    merged = ALERTMANAGER | {key: value for key, value in changes.items() if key != "receivers"}
    named = receivers(ALERTMANAGER) | receivers({"receivers": changes.get("receivers", [])})
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(merged | {"receivers": list(named.values())}))
    return str(file)


@pytest.mark.parametrize("changes", [{}, *EXAMPLES])
def test_alertmanager_accepts_its_configuration_and_the_examples(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    run("amtool", "check-config", write_configuration(changes, tmp_path))


@pytest.mark.parametrize(
    ("example", "severity", "notified"),
    [
        (0, "critical", "mail"),
        (0, "warning", "mail"),
        (1, "critical", "slack,mail"),
        (1, "warning", "mail"),
        (2, "critical", "webhook"),
    ],
)
def test_examples_notify_the_documented_receivers(
    example: int, severity: str, notified: str, tmp_path: Path
) -> None:
    file = write_configuration(EXAMPLES[example], tmp_path)
    found = run(
        "amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}"
    )
    assert found.strip() == notified


def test_invalid_configuration_is_detected(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="undefined receiver"):
        run("amtool", "check-config", write_configuration({"route": {"receiver": "x"}}, tmp_path))
