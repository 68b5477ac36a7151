"""The command line as users and scripts run it: `up`, `worker`, `submit`, `status`, `topics`, …"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from streams.observability.metrics import REGISTRY
from streams.stage import load_stages, topics_of
from streams.topics import REQUESTS
from tests.acceptance.client import get, page
from tests.standin import Standin, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIPMILL = str(Path(sys.executable).with_name("clipmill"))
READY_SECONDS = 60
STOP_SECONDS = 10
EXIT_SECONDS = 3
COMMAND_SECONDS = 30
STAGES = [stage.name for stage in load_stages()]


def small(serial: int) -> str:
    return video_id("kilobytes", param=16, serial=serial)


class CommandResult(NamedTuple):
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Shell:
    """Runs `clipmill` in a folder with settings as environment variables."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self._variables = variables

    async def start(self, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
        clean = {name: value for name, value in os.environ.items() if "CLIPMILL_" not in name}
        return await asyncio.create_subprocess_exec(
            CLIPMILL,
            *arguments,
            cwd=self.folder,
            env={**clean, **self._variables, **variables},
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, *arguments: str, **variables: str) -> CommandResult:
        """Run a command with a timeout."""
        process = await self.start(*arguments, **variables)
        async with ensured_exit(process), asyncio.timeout(COMMAND_SECONDS):
            out, err = await process.communicate()
        return CommandResult(process.returncode or 0, out.decode(), err.decode())


@asynccontextmanager
async def ensured_exit(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Service:
    """`clipmill up` on one data folder, restarted after a test that ended it."""

    def __init__(self, shell: Shell, data_dir: Path) -> None:
        self.shell = shell
        self.data_dir = data_dir
        self.port = unused_port()
        self.process: asyncio.subprocess.Process | None = None
        self.ready: dict[str, Any] = {}

    @property
    def arguments(self) -> tuple[str, ...]:
        # Other tests start `up` at the same time, and two of them could find 9092 free.
        port = ("--kafka-port", str(self.port))
        return ("up", "--data-dir", str(self.data_dir), *port, "--http", "127.0.0.1:0")

    async def running(self) -> asyncio.subprocess.Process:
        if self.process is None or self.process.returncode is not None:
            self.process = await self.shell.start(*self.arguments)
            self.ready = await ready_line(self.process)
        return self.process

    async def clipmill(self, *arguments: str, **variables: str) -> CommandResult:
        """Run a client's command against the service's broker."""
        await self.running()
        return await self.shell.run(*arguments, "--bootstrap", self.ready["bootstrap"], **variables)


async def ready_line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Return the JSON line that a process prints when it is ready."""
    assert process.stdout is not None
    async with asyncio.timeout(READY_SECONDS):
        line = await process.stdout.readline()
    if not line:
        _, err = await process.communicate()
        raise AssertionError(f"it ended with {process.returncode}: {err.decode()[-2_000:]}")
    ready: dict[str, Any] = json.loads(line)
    return ready


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def standin(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Standin]:
    async with Standin(tmp_path_factory.mktemp("standin")) as standin:
        yield standin


@pytest.fixture(scope="module")
def shell(standin: Standin, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(
        tmp_path_factory.mktemp("shell"),
        CLIPMILL_EGRESS__PROXY=standin.proxy_url,
        CLIPMILL_EGRESS__CA_FILE=str(standin.ca_file),
    )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    service = Service(shell, tmp_path_factory.mktemp("service") / "data")
    process = await service.running()
    yield service
    async with ensured_exit(service.process or process):
        pass


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A loopback port that refuses connections: bound, without a listener."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def remaining_after(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return the processes that still run after the timeout."""
    deadline = time.monotonic() + seconds
    while remaining := [each for each in processes if not has_ended(each)]:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.05)
    return remaining


def is_readable_error(outcome: CommandResult) -> bool:
    """Return whether a failure is a readable error: on stderr, without a traceback."""
    return (
        outcome.status == 1
        and not outcome.out
        and outcome.err != ""
        and "Traceback" not in outcome.err
    )


# up


async def test_up_prints_one_line_with_its_addresses(service: Service) -> None:
    await service.running()
    assert set(service.ready) == {"ready", "bootstrap", "http", "data_dir"}
    assert service.ready["ready"] is True
    assert service.ready["data_dir"] == str(service.data_dir)
    host, _, port = service.ready["bootstrap"].rpartition(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    address = urlsplit(service.ready["http"])
    assert (address.scheme, address.hostname) == ("http", "127.0.0.1")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_up_is_healthy_once_it_is_ready(path: str, service: Service) -> None:
    await service.running()
    body = json.loads(await get(service.ready["http"] + path))
    assert body["status"] in {"alive", "ready"}
    assert not body.get("problems")


async def test_metrics_contain_every_documented_name(service: Service) -> None:
    await service.running()
    families = list(text_string_to_metric_families(await get(f"{service.ready['http']}/metrics")))
    documented = {each.name for each in REGISTRY.collect() if each.name.startswith("clipmill_")}
    found = {each.name for each in families}
    assert len(documented) > 15
    assert documented <= found
    assert all(each.documentation for each in families)
    samples = [sample for each in families for sample in each.samples]
    ready = {s.labels["stage"]: s.value for s in samples if s.name == "clipmill_stage_ready"}
    assert ready == dict.fromkeys(STAGES, 1)


async def test_second_up_on_the_same_data_dir_is_refused(service: Service, shell: Shell) -> None:
    await service.running()
    outcome = await shell.run(*service.arguments)
    assert is_readable_error(outcome), outcome
    assert str(service.data_dir) in outcome.err


async def test_up_with_taken_http_port_is_a_readable_error(service: Service, shell: Shell) -> None:
    await service.running()
    http = service.ready["http"].removeprefix("http://")
    bootstrap = ("--bootstrap", service.ready["bootstrap"])
    outcome = await shell.run("up", "--data-dir", "other", "--http", http, *bootstrap)
    assert is_readable_error(outcome), outcome
    assert "--http" in outcome.err


# worker


async def test_worker_runs_the_named_stages(service: Service, shell: Shell) -> None:
    await service.running()
    arguments = ("worker", "selection", "ledger", "--bootstrap", service.ready["bootstrap"])
    process = await shell.start(*arguments, "--http", "127.0.0.1:0")
    async with ensured_exit(process):
        ready = await ready_line(process)
        assert (ready["ready"], ready["stages"]) == (True, ["selection", "ledger"])
        assert json.loads(await get(ready["http"] + "/health/ready"))["problems"] == {}
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"")


async def test_second_worker_on_one_host_takes_a_free_port_and_logs_it(
    service: Service, shell: Shell
) -> None:
    await service.running()
    arguments = ("worker", "selection", "--bootstrap", service.ready["bootstrap"])
    first, second = await shell.start(*arguments), await shell.start(*arguments)
    async with ensured_exit(first), ensured_exit(second):
        addresses = [(await ready_line(each))["http"] for each in (first, second)]
        assert len(set(addresses)) == 2
        for http in addresses:
            assert json.loads(await get(f"{http}/health/live")) == {"status": "alive"}
        logs = b""
        for each in (first, second):
            each.send_signal(signal.SIGTERM)
            logs += (await each.communicate())[1]
        moved = [each for each in addresses if not each.endswith(":8080")]
        assert moved
        assert all(f"are on port {each.rpartition(':')[2]}" in logs.decode() for each in moved)


async def test_unknown_stage_is_named_with_the_known_ones(service: Service) -> None:
    outcome = await service.clipmill("worker", "selection", "extracton")
    assert is_readable_error(outcome), outcome
    assert "extracton" in outcome.err
    assert all(name in outcome.err for name in STAGES)


async def test_missing_topics_are_named_with_the_command_to_run(service: Service) -> None:
    outcome = await service.clipmill(
        "worker", "all", "--http", "127.0.0.1:0", CLIPMILL_KAFKA__TOPIC_PREFIX="elsewhere."
    )
    assert is_readable_error(outcome), outcome
    assert "elsewhere.requests.v1: does not exist" in outcome.err
    assert "clipmill topics apply" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("worker", "all", "--http", "127.0.0.1:0"),
        ("up", "--http", "127.0.0.1:0"),
        ("submit", "https://www.tiktok.com/@a/video/1"),
        ("status", "some-id"),
        ("requests",),
        ("topics", "apply"),
        ("topics", "check"),
    ],
    ids=" ".join,
)
async def test_unreachable_broker_is_a_readable_error(
    arguments: tuple[str, ...], shell: Shell, closed_port: int
) -> None:
    patience = {"CLIPMILL_KAFKA__START_TIMEOUT_SECONDS": "1"}
    outcome = await shell.run(*arguments, "--bootstrap", f"127.0.0.1:{closed_port}", **patience)
    assert is_readable_error(outcome), outcome
    assert f"127.0.0.1:{closed_port}" in outcome.err


# topics


async def test_topics_are_applied_once_and_checked(service: Service) -> None:
    variables = {"CLIPMILL_KAFKA__TOPIC_PREFIX": "another."}
    assert (await service.clipmill("topics", "check", **variables)).status == 1
    applied = await service.clipmill("topics", "apply", **variables)
    assert applied.status == 0, applied
    names = [topic.kafka_name("another.") for topic in topics_of(load_stages())]
    assert sorted(applied.lines) == sorted(f"created {name}" for name in names)
    assert (await service.clipmill("topics", "apply", **variables)).out == "all topics exist\n"
    assert (await service.clipmill("topics", "check", **variables)).status == 0


async def test_misconfigured_topics_are_not_changed(service: Service) -> None:
    outcome = await service.clipmill("topics", "apply", CLIPMILL_KAFKA__PARTITIONS="7")
    assert is_readable_error(outcome), outcome
    assert "clipmill.requests.v1: has 4 partitions instead of 7" in outcome.err


# submit


async def test_submit_prints_a_line_for_each_result(service: Service, standin: Standin) -> None:
    urls = [page(small(10)), page(small(11))]
    results = await submitted(service, *urls, "--action", "info", "--wait")
    assert {each["url"] for each in results} == set(urls)
    assert {each["status"] for each in results} == {"completed"}
    assert standin.counters.of(small(10), "media") == 0


async def test_submit_accepts_a_quality(service: Service) -> None:
    (result,) = await submitted(service, page(video_id(serial=12)), "--quality", "480p", "--wait")
    assert result["files"][0]["width"] == 576


async def test_submit_exit_status_reports_failed_requests(service: Service) -> None:
    urls = (page(small(13)), page(video_id("deleted")), "not-a-link")
    outcome = await service.clipmill("submit", *urls, "--wait", "--json")
    assert outcome.status == 2, outcome
    results = {each["url"]: each["status"] for each in map(json.loads, outcome.lines)}
    assert results == dict(zip(urls, ("completed", "failed", "rejected"), strict=True))


async def test_submit_without_json_prints_a_table(service: Service) -> None:
    outcome = await service.clipmill("submit", page(small(14)), page(video_id("private")), "--wait")
    assert outcome.status == 2, outcome
    assert "completed" in outcome.out
    assert "content.private" in outcome.out


async def test_submit_without_wait_prints_the_ids(service: Service) -> None:
    outcome = await service.clipmill("submit", page(small(15)), page(small(16)))
    assert (outcome.status, len(outcome.lines)) == (0, 2)
    ids = [line.split()[0] for line in outcome.lines]
    (printed,) = await submitted(service, page(small(17)))
    assert printed == {"request_id": printed["request_id"], "url": page(small(17))}
    assert len({*ids, printed["request_id"]}) == 3


async def test_submit_timeout_is_a_readable_error(service: Service) -> None:
    slow = page(video_id("media.takes", param=30, serial=18))
    outcome = await service.clipmill("submit", slow, "--wait", "--timeout", "1")
    assert is_readable_error(outcome), outcome
    assert "clipmill status" in outcome.err


@pytest.mark.parametrize(
    "arguments", [("submit",), ("submit", "x", "--quality", "4k"), ("nothing",)], ids=" ".join
)
async def test_invalid_arguments_print_the_usage(arguments: tuple[str, ...], shell: Shell) -> None:
    outcome = await shell.run(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert "Usage:" in outcome.err
    assert "Traceback" not in outcome.err


# status


async def test_status_prints_the_history_of_a_request(service: Service) -> None:
    (result,) = await submitted(service, page(small(20)), "--wait")
    outcome = await service.clipmill("status", result["request_id"], "--json")
    records = [json.loads(line) for line in outcome.lines]
    assert [each["transition"] for each in records] == [
        "accepted",
        "extracted",
        "selected",
        "finished",
    ]
    assert {each["request_id"] for each in records} == {result["request_id"]}
    assert "finished" in (await service.clipmill("status", result["request_id"])).out


async def test_status_prints_the_history_of_a_batch(service: Service) -> None:
    await service.running()
    batch = {"id": "list-7", "urls": [page(small(21)), "nonsense"], "action": "info"}
    async with AIOKafkaProducer(bootstrap_servers=service.ready["bootstrap"]) as producer:
        await producer.send_and_wait(REQUESTS.kafka_name(), json.dumps(batch).encode())
    async with asyncio.timeout(COMMAND_SECONDS):
        while await finished_ids(service, "list-7") != {"list-7/0", "list-7/1"}:
            pass
    assert await finished_ids(service, "list-7/1") == {"list-7/1"}


async def finished_ids(service: Service, request_id: str) -> set[str]:
    outcome = await service.clipmill("status", request_id, "--json")
    records = map(json.loads, outcome.lines)
    return {each["request_id"] for each in records if each["transition"] == "finished"}


async def test_status_of_an_unknown_id_is_a_readable_error(service: Service) -> None:
    outcome = await service.clipmill("status", "nobody-knows")
    assert is_readable_error(outcome), outcome
    assert "nobody-knows" in outcome.err


# requests


async def test_requests_are_listed_by_state_and_url(service: Service) -> None:
    url = page(small(22))
    (result,) = await submitted(service, url, "--wait")
    await submitted(service, page(small(24)), "--wait")
    outcome = await service.clipmill("requests", "--url", url, "--json")
    (row,) = map(json.loads, outcome.lines)
    assert (row["id"], row["state"], row["video"]) == (
        result["request_id"],
        "completed",
        f"tiktok:{small(22)}",
    )
    since = await service.clipmill("requests", "--since", "2030-01-01", "--json")
    assert (since.status, since.lines) == (0, [])
    assert result["request_id"] in (await service.clipmill("requests", "--state", "completed")).out


async def test_requests_are_counted_by_state(service: Service) -> None:
    before = json.loads((await service.clipmill("requests", "--counts", "--json")).out)
    await submitted(service, page(small(23)), "--wait")
    after = json.loads((await service.clipmill("requests", "--counts", "--json")).out)
    assert after["completed"] == before.get("completed", 0) + 1
    assert (
        f"{after['completed']}  completed" in (await service.clipmill("requests", "--counts")).out
    )


async def test_malformed_time_of_requests_is_a_readable_error(service: Service) -> None:
    outcome = await service.clipmill("requests", "--since", "yesterday")
    assert outcome.status == 2
    assert "--since" in outcome.err
    assert "RFC 3339" in outcome.err


# config


async def test_config_prints_the_source_of_each_value(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[limits]\ndownload_tasks = 3\n[kafka]\npartitions = 8\n")
    outcome = await shell.run(
        "config", CLIPMILL_CONFIG=str(file), CLIPMILL_KAFKA__PARTITIONS="9", CLIPMILL_HTTP="[::1]:1"
    )
    assert outcome.status == 0, outcome
    lines = {line.partition(" = ")[0]: line for line in outcome.lines}
    assert lines["kafka.partitions"].startswith("kafka.partitions = 9  # environment")
    assert f"= 3  # file {file}" in lines["limits.download_tasks"]
    assert "# default" in lines["cache.video_info_seconds"]
    assert "CLIPMILL_HTTP" in lines["http"]


async def test_config_shows_no_secrets(shell: Shell) -> None:
    outcome = await shell.run(
        "config",
        CLIPMILL_KAFKA__SASL_PASSWORD="hunter2",
        CLIPMILL_KAFKA__SASL_USERNAME="somebody",
        CLIPMILL_EGRESS__PROXY="http://user:hunter3@127.0.0.1:3128",
    )
    assert outcome.status == 0, outcome
    assert "hunter" not in outcome.out + outcome.err
    assert '"http://********@127.0.0.1:3128"' in outcome.out


async def test_unknown_variable_is_reported_after_the_names_of_all_settings(shell: Shell) -> None:
    outcome = await shell.run("config", CLIPMILL_KAFKA__BOOTSTAP="x")
    assert outcome.status == 1
    assert "kafka.bootstrap  # Brokers" in outcome.out
    expected = "CLIPMILL_KAFKA__BOOTSTAP is not a setting; did you mean CLIPMILL_KAFKA__BOOTSTRAP?"
    assert outcome.err == f"clipmill: {expected}\n"


@pytest.mark.parametrize("arguments", [("worker", "all"), ("up",), ("status", "x")])
async def test_unknown_variable_is_refused_at_start(
    arguments: tuple[str, ...], shell: Shell
) -> None:
    outcome = await shell.run(*arguments, CLIPMILL_DOWNLOAD__CONCURENCY="3")
    assert is_readable_error(outcome), outcome
    assert "CLIPMILL_DOWNLOAD__CONCURENCY is not a setting" in outcome.err


async def test_invalid_value_is_refused_at_start_by_name_without_its_value(shell: Shell) -> None:
    outcome = await shell.run("config", CLIPMILL_KAFKA__BOOTSTRAP="user:secret@nowhere")
    assert is_readable_error(outcome), outcome
    assert "kafka.bootstrap" in outcome.err
    assert "secret" not in outcome.err


async def test_help_lists_the_commands(shell: Shell) -> None:
    outcome = await shell.run("--help")
    assert outcome.status == 0
    assert all(
        name in outcome.out for name in ("up", "worker", "submit", "status", "topics", "config")
    )
    assert (await shell.run("--version")).out.startswith("clipmill, version ")


# up, from start to exit


async def test_up_keeps_data_and_ends_its_processes_through_stop_restart_and_kill(
    service: Service, standin: Standin
) -> None:
    first = await submitted(service, page(small(1)), "--wait")
    request_id = first[0]["request_id"]
    await check_stop_on_sigterm(service)
    old = service.ready["bootstrap"]
    again = await submitted(service, page(small(1)), "--wait")
    assert service.ready["bootstrap"] == old
    assert again[0]["files"] == [{**first[0]["files"][0], "reused": True}]
    assert standin.counters.of(small(1)) == 1
    assert request_id in (await service.clipmill("status", request_id)).out
    await check_kill_ends_all_processes(service)


async def submitted(service: Service, *arguments: str) -> list[dict[str, Any]]:
    outcome = await service.clipmill("submit", *arguments, "--json")
    assert outcome.status == 0, outcome
    return [json.loads(line) for line in outcome.lines]


async def check_stop_on_sigterm(service: Service) -> None:
    process = await service.running()
    processes = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(STOP_SECONDS):
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, b""), err.decode()
    assert b"Traceback" not in err, err.decode()
    assert await remaining_after(processes, EXIT_SECONDS) == []


async def check_kill_ends_all_processes(service: Service) -> None:
    process = await service.running()
    processes = psutil.Process(process.pid).children(recursive=True)
    assert len(processes) >= 3, "broker, fork server and engine"
    assert "java" in {each.name() for each in processes}
    process.kill()
    await process.communicate()
    assert await remaining_after(processes, EXIT_SECONDS) == []
