"""The command line as people and scripts use it: `up`, `worker`, `submit`, `status`, `topics`, …"""

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
from tests.acceptance.desk import get, page
from tests.standin import Standin, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIPMILL = str(Path(sys.executable).with_name("clipmill"))
READY_SECONDS = 60
STOP_SECONDS = 10
GONE_SECONDS = 3
ANSWER_SECONDS = 30
STAGES = [stage.name for stage in load_stages()]


def small(serial: int) -> str:
    return video_id("kilobytes", param=16, serial=serial)


class Said(NamedTuple):
    """What a command said in the end."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Shell:
    """Runs `clipmill` in a folder, with settings as variables."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self._variables = variables

    async def start(self, *words: str, **variables: str) -> asyncio.subprocess.Process:
        clean = {name: value for name, value in os.environ.items() if "CLIPMILL_" not in name}
        return await asyncio.create_subprocess_exec(
            CLIPMILL,
            *words,
            cwd=self.folder,
            env={**clean, **self._variables, **variables},
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, *words: str, **variables: str) -> Said:
        """Return what a command said; it must end in time."""
        process = await self.start(*words, **variables)
        async with ended_at_last(process), asyncio.timeout(ANSWER_SECONDS):
            out, err = await process.communicate()
        return Said(process.returncode or 0, out.decode(), err.decode())


@asynccontextmanager
async def ended_at_last(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


class Service:
    """`clipmill up` on one data folder, started again after a test that ended it."""

    def __init__(self, shell: Shell, data_dir: Path) -> None:
        self.shell = shell
        self.data_dir = data_dir
        self.process: asyncio.subprocess.Process | None = None
        self.ready: dict[str, Any] = {}

    @property
    def words(self) -> tuple[str, ...]:
        return ("up", "--data-dir", str(self.data_dir), "--http", "127.0.0.1:0")

    async def running(self) -> asyncio.subprocess.Process:
        if self.process is None or self.process.returncode is not None:
            self.process = await self.shell.start(*self.words)
            self.ready = await announcement(self.process)
        return self.process

    async def clipmill(self, *words: str, **variables: str) -> Said:
        """Return what a client's command said, sent to the service's broker."""
        await self.running()
        return await self.shell.run(*words, "--bootstrap", self.ready["bootstrap"], **variables)


async def announcement(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Return the line that a process prints when it is ready."""
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
    async with ended_at_last(service.process or process):
        pass


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that nobody answers on: taken, and not listened to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def all_gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return who is still there after so many seconds."""
    deadline = time.monotonic() + seconds
    while left := [each for each in processes if not is_gone(each)]:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.05)
    return left


def is_friendly(said: Said) -> bool:
    """Return whether a failure is told in words: on stderr, without a traceback."""
    return said.status == 1 and not said.out and said.err != "" and "Traceback" not in said.err


# up


async def test_up_says_in_one_line_where_it_is(service: Service) -> None:
    await service.running()
    assert set(service.ready) == {"ready", "bootstrap", "http", "data_dir"}
    assert service.ready["ready"] is True
    assert service.ready["data_dir"] == str(service.data_dir)
    host, _, port = service.ready["bootstrap"].rpartition(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    address = urlsplit(service.ready["http"])
    assert (address.scheme, address.hostname) == ("http", "127.0.0.1")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_up_is_healthy_once_it_says_so(path: str, service: Service) -> None:
    await service.running()
    body = json.loads(await get(service.ready["http"] + path))
    assert body["status"] in {"alive", "ready"}
    assert not body.get("problems")


async def test_metrics_hold_every_documented_name(service: Service) -> None:
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


async def test_a_second_up_on_the_same_data_is_refused(service: Service, shell: Shell) -> None:
    await service.running()
    said = await shell.run(*service.words)
    assert is_friendly(said), said
    assert str(service.data_dir) in said.err


async def test_up_says_that_its_http_port_is_taken(service: Service, shell: Shell) -> None:
    await service.running()
    http = service.ready["http"].removeprefix("http://")
    bootstrap = ("--bootstrap", service.ready["bootstrap"])
    said = await shell.run("up", "--data-dir", "other", "--http", http, *bootstrap)
    assert is_friendly(said), said
    assert "--http" in said.err


# worker


async def test_a_worker_of_some_stages(service: Service, shell: Shell) -> None:
    await service.running()
    words = ("worker", "selection", "ledger", "--bootstrap", service.ready["bootstrap"])
    process = await shell.start(*words, "--http", "127.0.0.1:0")
    async with ended_at_last(process):
        ready = await announcement(process)
        assert (ready["ready"], ready["stages"]) == (True, ["selection", "ledger"])
        assert json.loads(await get(ready["http"] + "/health/ready"))["problems"] == {}
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"")


async def test_a_second_worker_on_one_host_takes_a_free_port_and_says_which(
    service: Service, shell: Shell
) -> None:
    await service.running()
    words = ("worker", "selection", "--bootstrap", service.ready["bootstrap"])
    first, second = await shell.start(*words), await shell.start(*words)
    async with ended_at_last(first), ended_at_last(second):
        addresses = [(await announcement(each))["http"] for each in (first, second)]
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


async def test_an_unknown_stage_is_named_with_those_that_are(service: Service) -> None:
    said = await service.clipmill("worker", "selection", "extracton")
    assert is_friendly(said), said
    assert "extracton" in said.err
    assert all(name in said.err for name in STAGES)


async def test_missing_topics_are_named_with_what_to_do(service: Service) -> None:
    said = await service.clipmill(
        "worker", "all", "--http", "127.0.0.1:0", CLIPMILL_KAFKA__TOPIC_PREFIX="elsewhere."
    )
    assert is_friendly(said), said
    assert "elsewhere.requests.v1: does not exist" in said.err
    assert "clipmill topics apply" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ("worker", "all", "--http", "127.0.0.1:0"),
        ("up", "--http", "127.0.0.1:0"),
        ("submit", "https://www.tiktok.com/@a/video/1"),
        ("status", "some-id"),
        ("topics", "apply"),
        ("topics", "check"),
    ],
    ids=" ".join,
)
async def test_no_broker_is_said_in_words(
    words: tuple[str, ...], shell: Shell, closed_port: int
) -> None:
    patience = {"CLIPMILL_KAFKA__START_TIMEOUT_SECONDS": "1"}
    said = await shell.run(*words, "--bootstrap", f"127.0.0.1:{closed_port}", **patience)
    assert is_friendly(said), said
    assert f"127.0.0.1:{closed_port}" in said.err


# topics


async def test_topics_are_applied_once_and_checked(service: Service) -> None:
    variables = {"CLIPMILL_KAFKA__TOPIC_PREFIX": "another."}
    assert (await service.clipmill("topics", "check", **variables)).status == 1
    applied = await service.clipmill("topics", "apply", **variables)
    assert applied.status == 0, applied
    names = [topic.kafka_name("another.") for topic in topics_of(load_stages())]
    assert sorted(applied.lines) == sorted(f"created {name}" for name in names)
    assert (await service.clipmill("topics", "apply", **variables)).out == "nothing to do\n"
    assert (await service.clipmill("topics", "check", **variables)).status == 0


async def test_topics_that_are_wrong_are_not_changed(service: Service) -> None:
    said = await service.clipmill("topics", "apply", CLIPMILL_KAFKA__PARTITIONS="7")
    assert is_friendly(said), said
    assert "clipmill.requests.v1: has 4 partitions instead of 7" in said.err


# submit


async def test_submit_prints_a_line_for_each_result(service: Service, standin: Standin) -> None:
    urls = [page(small(10)), page(small(11))]
    results = await submitted(service, *urls, "--action", "info", "--wait")
    assert {each["url"] for each in results} == set(urls)
    assert {each["status"] for each in results} == {"completed"}
    assert standin.counters.of(small(10), "media") == 0


async def test_submit_takes_a_quality(service: Service) -> None:
    (result,) = await submitted(service, page(video_id(serial=12)), "--quality", "480p", "--wait")
    assert result["files"][0]["width"] == 576


async def test_submit_tells_by_its_status_that_something_was_not_had(service: Service) -> None:
    urls = (page(small(13)), page(video_id("deleted")), "not-a-link")
    said = await service.clipmill("submit", *urls, "--wait", "--json")
    assert said.status == 2, said
    results = {each["url"]: each["status"] for each in map(json.loads, said.lines)}
    assert results == dict(zip(urls, ("completed", "failed", "rejected"), strict=True))


async def test_submit_for_people_is_a_table(service: Service) -> None:
    said = await service.clipmill("submit", page(small(14)), page(video_id("private")), "--wait")
    assert said.status == 2, said
    assert "completed" in said.out
    assert "content.private" in said.out


async def test_submit_without_waiting_prints_the_ids(service: Service) -> None:
    said = await service.clipmill("submit", page(small(15)), page(small(16)))
    assert (said.status, len(said.lines)) == (0, 2)
    ids = [line.split()[0] for line in said.lines]
    (shown,) = await submitted(service, page(small(17)))
    assert shown == {"request_id": shown["request_id"], "url": page(small(17))}
    assert len({*ids, shown["request_id"]}) == 3


async def test_submit_gives_up_waiting_in_words(service: Service) -> None:
    slow = page(video_id("media.takes", param=30, serial=18))
    said = await service.clipmill("submit", slow, "--wait", "--timeout", "1")
    assert is_friendly(said), said
    assert "clipmill status" in said.err


@pytest.mark.parametrize(
    "words", [("submit",), ("submit", "x", "--quality", "4k"), ("nothing",)], ids=" ".join
)
async def test_wrong_words_are_explained(words: tuple[str, ...], shell: Shell) -> None:
    said = await shell.run(*words)
    assert (said.status, said.out) == (2, "")
    assert "Usage:" in said.err
    assert "Traceback" not in said.err


# status


async def test_status_tells_the_story_of_a_request(service: Service) -> None:
    (result,) = await submitted(service, page(small(20)), "--wait")
    said = await service.clipmill("status", result["request_id"], "--json")
    told = [json.loads(line) for line in said.lines]
    assert [each["transition"] for each in told] == [
        "accepted",
        "extracted",
        "selected",
        "finished",
    ]
    assert {each["request_id"] for each in told} == {result["request_id"]}
    assert "finished" in (await service.clipmill("status", result["request_id"])).out


async def test_status_tells_the_story_of_a_batch(service: Service) -> None:
    await service.running()
    batch = {"id": "list-7", "urls": [page(small(21)), "nonsense"], "action": "info"}
    async with AIOKafkaProducer(bootstrap_servers=service.ready["bootstrap"]) as producer:
        await producer.send_and_wait(REQUESTS.kafka_name(), json.dumps(batch).encode())
    async with asyncio.timeout(ANSWER_SECONDS):
        while await finished(service, "list-7") != {"list-7/0", "list-7/1"}:
            pass
    assert await finished(service, "list-7/1") == {"list-7/1"}


async def finished(service: Service, request_id: str) -> set[str]:
    said = await service.clipmill("status", request_id, "--json")
    told = map(json.loads, said.lines)
    return {each["request_id"] for each in told if each["transition"] == "finished"}


async def test_status_of_nobody_is_said_in_words(service: Service) -> None:
    said = await service.clipmill("status", "nobody-knows")
    assert is_friendly(said), said
    assert "nobody-knows" in said.err


# config


async def test_config_tells_where_each_value_came_from(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[limits]\ndownload_tasks = 3\n[kafka]\npartitions = 8\n")
    said = await shell.run(
        "config", CLIPMILL_CONFIG=str(file), CLIPMILL_KAFKA__PARTITIONS="9", CLIPMILL_HTTP="[::1]:1"
    )
    assert said.status == 0, said
    lines = {line.partition(" = ")[0]: line for line in said.lines}
    assert lines["kafka.partitions"].startswith("kafka.partitions = 9  # environment")
    assert f"= 3  # file {file}" in lines["limits.download_tasks"]
    assert "# default" in lines["cache.video_info_seconds"]
    assert "CLIPMILL_HTTP" in lines["http"]


async def test_config_shows_no_secrets(shell: Shell) -> None:
    said = await shell.run(
        "config",
        CLIPMILL_KAFKA__SASL_PASSWORD="hunter2",
        CLIPMILL_KAFKA__SASL_USERNAME="somebody",
        CLIPMILL_EGRESS__PROXY="http://user:hunter3@127.0.0.1:3128",
    )
    assert said.status == 0, said
    assert "hunter" not in said.out + said.err
    assert '"http://********@127.0.0.1:3128"' in said.out


@pytest.mark.parametrize("words", [("config",), ("worker", "all"), ("up",), ("status", "x")])
async def test_an_unknown_variable_stops_the_start(words: tuple[str, ...], shell: Shell) -> None:
    said = await shell.run(*words, CLIPMILL_DOWNLOAD__CONCURENCY="3")
    assert is_friendly(said), said
    assert "CLIPMILL_DOWNLOAD__CONCURENCY is not a setting" in said.err


async def test_a_bad_value_stops_the_start_with_its_name_and_without_itself(shell: Shell) -> None:
    said = await shell.run("config", CLIPMILL_KAFKA__BOOTSTRAP="user:secret@nowhere")
    assert is_friendly(said), said
    assert "kafka.bootstrap" in said.err


async def test_help_lists_the_commands(shell: Shell) -> None:
    said = await shell.run("--help")
    assert said.status == 0
    assert all(
        name in said.out for name in ("up", "worker", "submit", "status", "topics", "config")
    )
    assert (await shell.run("--version")).out.startswith("clipmill, version ")


# up, from its start to its end


async def test_up_keeps_its_promises_through_stop_start_and_kill(
    service: Service, standin: Standin
) -> None:
    first = await submitted(service, page(small(1)), "--wait")
    request_id = first[0]["request_id"]
    await stops_when_told(service)
    old = service.ready["bootstrap"]
    again = await submitted(service, page(small(1)), "--wait")
    assert service.ready["bootstrap"] == old
    assert again[0]["files"] == [{**first[0]["files"][0], "reused": True}]
    assert standin.counters.of(small(1)) == 1
    assert request_id in (await service.clipmill("status", request_id)).out
    await leaves_nothing_behind(service)


async def submitted(service: Service, *words: str) -> list[dict[str, Any]]:
    said = await service.clipmill("submit", *words, "--json")
    assert said.status == 0, said
    return [json.loads(line) for line in said.lines]


async def stops_when_told(service: Service) -> None:
    process = await service.running()
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(STOP_SECONDS):
        out, err = await process.communicate()
    assert (process.returncode, out) == (0, b""), err.decode()
    assert b"Traceback" not in err, err.decode()
    assert await all_gone(family, GONE_SECONDS) == []


async def leaves_nothing_behind(service: Service) -> None:
    process = await service.running()
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3, "broker, fork server and engine"
    assert "java" in {each.name() for each in family}
    process.kill()
    await process.communicate()
    assert await all_gone(family, GONE_SECONDS) == []
