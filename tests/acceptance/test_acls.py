"""Principals with the ACLs that `clipmill topics acls` prints, and nothing more."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from click.testing import CliRunner

from streams.cli.topics import topics
from streams.cluster.acls import Acl, AclOperationName, AclResource
from streams.cluster.authorization import missing_acls
from streams.settings import KafkaSettings
from streams.topics import AUDIT, VALIDATED
from tests.acceptance.client import PipelineClient, get, page
from tests.acceptance.secured_pipeline import ForeignClient, Login, SecuredPipeline
from tests.pipeline_process import Process
from tests.secured_broker import PASSWORD
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLES = {"clipmill": "worker", "asker": "client", "keeper": "operator", "boss": "admin"}
GROUP = "asker-results"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredPipeline]:
    """A pipeline with a principal for each role, which has exactly the ACLs printed for it."""
    async with SecuredPipeline(tmp_path_factory.mktemp("pipeline"), users=tuple(ROLES)) as pipeline:
        for name, role in ROLES.items():
            pipeline.secured.allow(f"User:{name}", printed_acls(role, name))
        yield pipeline


def printed_acls(role: str, name: str, **variables: str) -> list[Acl]:
    """Return the ACLs that `clipmill topics acls ROLE` prints for a principal."""
    options = ["--group", GROUP] if role == "client" else []
    command = ["acls", role, "--principal", f"User:{name}", "--json", *options]
    outcome = CliRunner().invoke(topics, command, env=variables)
    assert outcome.exit_code == 0, outcome.output
    lines = [json.loads(line) for line in outcome.output.splitlines()]
    assert {line.pop("principal") for line in lines} == {f"User:{name}"}
    return [Acl(**line | {"operations": tuple(line["operations"])}) for line in lines]


@pytest.fixture(scope="module")
def login(pipeline: SecuredPipeline) -> Login:
    return pipeline.login("SCRAM-SHA-512")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(pipeline: SecuredPipeline, login: Login) -> Process:
    return await pipeline.start_worker("all", **login.variables)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def foreign_client(pipeline: SecuredPipeline) -> AsyncIterator[ForeignClient]:
    foreign_client = ForeignClient(pipeline.login("SCRAM-SHA-256", "asker"), group=GROUP)
    yield foreign_client
    foreign_client.close()


async def wait_for_access_problem(client: PipelineClient, worker: Process, text: str) -> str:
    """Wait until a worker's access problem names ``text``; return the problem."""
    async with asyncio.timeout(60):
        while text not in (problem := await client.wait_for_problem(worker, "access", seconds=60)):
            await client.pipeline.read_results(0.2)
    return problem


async def wait_until_healthy(client: PipelineClient, worker: Process) -> None:
    """Wait until a worker's health reports no problems."""
    deadline = time.monotonic() + 60
    while problems := json.loads(await get(f"{worker.ready['http']}/health/ready"))["problems"]:
        assert time.monotonic() < deadline, problems
        await client.pipeline.read_results(0.2)


def acl(resource: AclResource, name: str, operation: AclOperationName) -> Acl:
    return Acl(resource, name, (operation,))


async def test_admin_creates_all_topics(pipeline: SecuredPipeline) -> None:
    """With another topic prefix: the topics of the default one exist already."""
    boss = pipeline.login("PLAIN", "boss")
    other = boss.variables | {"CLIPMILL_KAFKA__TOPIC_PREFIX": "other."}
    status, _, errors = await pipeline.clipmill("topics", "apply", **other)
    assert status == 1
    assert "does not allow the login 'boss' (PLAIN) to" in errors
    assert "DESCRIBE and DESCRIBE_CONFIGS on topic other.requests.v1, other.videos" in errors
    made = printed_acls("admin", "boss", CLIPMILL_KAFKA__TOPIC_PREFIX="other.")
    await asyncio.to_thread(pipeline.secured.allow, "User:boss", made)
    status, output, errors = await pipeline.clipmill("topics", "apply", **other)
    assert status == 0, errors
    assert "created other.requests.v1" in output
    assert "created other.ledger-outcomes-changelog" in output
    assert (await pipeline.clipmill("topics", "check", **other))[0] == 0


@pytest.mark.usefixtures("worker")
async def test_stages_work_without_create_permission(
    pipeline: SecuredPipeline, foreign_client: ForeignClient
) -> None:
    """A file, a retry through a delay topic, and a permanent failure."""
    results = await foreign_client.request(
        {"id": "file", "url": page(video_id("kilobytes", param=16))},
        {"id": "retried", "url": page(video_id("page.503", times=2)), "action": "info"},
        {"id": "gone", "url": page(video_id("deleted")), "action": "info"},
    )
    statuses = {each["request_id"]: each["status"] for each in results}
    assert (
        statuses
        == {
            "file": "completed",
            "retried": "completed",
            "gone": "failed",
            "batch": "accepted",
        }
        or statuses["file"] == statuses["retried"] == "completed"
    )
    assert pipeline.secured.denied("User:clipmill") == []
    assert pipeline.secured.denied("User:asker") == []


async def test_second_worker_shares_the_partitions(
    pipeline: SecuredPipeline, login: Login, worker: Process, foreign_client: ForeignClient
) -> None:
    second = await pipeline.start_worker("all", **login.variables)
    requests = [
        {"id": f"shared-{serial}", "url": page(video_id(serial=serial)), "action": "info"}
        for serial in range(20, 40)
    ]
    assert {each["status"] for each in await foreign_client.request(*requests)} == {"completed"}
    members = await asyncio.to_thread(pipeline.secured.client_ids, "clipmill.validation")
    assert members == ["clipmill-validation"] * 2, "quotas and broker logs distinguish clients"
    second.kill()
    requests = [
        {"id": f"alone-{serial}", "url": page(video_id(serial=serial)), "action": "info"}
        for serial in range(40, 50)
    ]
    assert {each["status"] for each in await foreign_client.request(*requests)} == {"completed"}
    assert worker.running()
    assert pipeline.secured.denied("User:clipmill") == []


@pytest.mark.usefixtures("worker")
async def test_operator_replays_dead_letters(pipeline: SecuredPipeline) -> None:
    await pipeline.publish_to(VALIDATED, b"{no event")
    keeper = pipeline.login("SCRAM-SHA-512", "keeper").variables
    async with asyncio.timeout(30):
        while True:
            status, output, errors = await pipeline.clipmill(
                "deadletters", "list", "--json", **keeper
            )
            assert status == 0, errors
            if output.strip():
                break
    status, output, errors = await pipeline.clipmill("deadletters", "replay", "--all", **keeper)
    assert (status, output.split(";")[0].strip()) == (0, "1 replayed"), errors
    assert pipeline.secured.denied("User:keeper") == []


async def test_worker_command_with_client_acls_names_missing_acls(
    pipeline: SecuredPipeline,
) -> None:
    asker = pipeline.login("PLAIN", "asker").variables
    status, _, errors = await pipeline.clipmill("worker", "selection", **asker)
    assert status == 1
    assert "does not allow the login 'asker' (PLAIN) to" in errors
    assert "READ on group clipmill.selection" in errors
    assert "`clipmill topics acls`" in errors
    status, _, errors = await pipeline.clipmill("deadletters", "list", **asker)
    assert (status, "READ on topic clipmill.deadletters.v1" in errors) == (1, True)
    status, _, errors = await pipeline.clipmill("topics", "apply", **asker)
    assert (status, "DESCRIBE_CONFIGS on topic" in errors) == (1, True)


async def test_submit_with_worker_acls_names_missing_acls(
    pipeline: SecuredPipeline, login: Login
) -> None:
    url = page(video_id())
    status, _, errors = await pipeline.clipmill("submit", "--wait", url, **login.variables)
    assert status == 1
    assert "READ on topic clipmill.progress.v1, clipmill.results.v1" in errors


async def test_worker_start_names_the_one_missing_acl(
    pipeline: SecuredPipeline, login: Login
) -> None:
    revoked = acl("topic", "clipmill.requests.v1", "READ")
    await asyncio.to_thread(pipeline.secured.forbid, "User:clipmill", revoked)
    try:
        status, _, errors = await pipeline.clipmill("worker", "all", **login.variables)
    finally:
        await asyncio.to_thread(pipeline.secured.allow, "User:clipmill", [revoked])
    assert status == 1
    [line] = [line for line in errors.splitlines() if line.startswith("  ")]
    assert line == "  READ on topic clipmill.requests.v1"


async def test_each_revoked_worker_acl_is_reported_missing(
    pipeline: SecuredPipeline, login: Login, worker: Process
) -> None:
    kafka = KafkaSettings.model_validate(login.settings)
    needed = printed_acls("worker", "clipmill")
    for each in needed:
        revoked = acl(each.resource, each.name, each.operations[0])
        await asyncio.to_thread(pipeline.secured.forbid, "User:clipmill", revoked)
        try:
            missing = await missing_acls(kafka, needed)
        finally:
            await asyncio.to_thread(pipeline.secured.allow, "User:clipmill", [revoked])
        [found] = missing
        assert (found.resource, found.name) == (revoked.resource, revoked.name)
        # A topic without READ or WRITE may not be described: its other rights stay unknown.
        assert set(revoked.operations) <= set(found.operations)
    await wait_until_healthy(PipelineClient(pipeline), worker)


async def test_acl_revoked_at_runtime_is_reported_and_no_request_is_lost(
    pipeline: SecuredPipeline, worker: Process, foreign_client: ForeignClient
) -> None:
    client = PipelineClient(pipeline)
    revoked = acl("topic", AUDIT.kafka_name(), "WRITE")
    await asyncio.to_thread(pipeline.secured.forbid, "User:clipmill", revoked)
    requesting = asyncio.create_task(
        foreign_client.request(
            {"id": "held", "url": page(video_id(serial=60)), "action": "info"}, seconds=120
        )
    )
    try:
        await wait_for_access_problem(client, worker, "WRITE on topic clipmill.audit.v1")
        assert pipeline.secured.denied("User:clipmill"), "the broker's log shows what it denies"
        assert not requesting.done()
    finally:
        await asyncio.to_thread(pipeline.secured.allow, "User:clipmill", [revoked])
    [result] = await requesting
    assert result["status"] == "completed"
    await wait_until_healthy(client, worker)


@pytest.mark.parametrize(
    ("resource", "name"), [("topic", "clipmill.videos.validated.v1"), ("group", "clipmill.ledger")]
)
async def test_consumer_resumes_when_its_revoked_acl_is_restored(
    pipeline: SecuredPipeline,
    worker: Process,
    foreign_client: ForeignClient,
    resource: AclResource,
    name: str,
) -> None:
    client = PipelineClient(pipeline)
    revoked = acl(resource, name, "READ")
    await asyncio.to_thread(pipeline.secured.forbid, "User:clipmill", revoked)
    request = {"id": f"held-{resource}", "url": page(video_id(serial=70)), "action": "info"}
    requesting = asyncio.create_task(foreign_client.request(request, seconds=120))
    try:
        await wait_for_access_problem(client, worker, f"READ on {resource} {name}")
    finally:
        await asyncio.to_thread(pipeline.secured.allow, "User:clipmill", [revoked])
    [result] = await requesting
    assert result["status"] == "completed"
    await wait_until_healthy(client, worker)


async def test_password_changed_at_runtime_is_reported(
    pipeline: SecuredPipeline, worker: Process
) -> None:
    """Open connections survive the change; only the next one would fail."""
    client = PipelineClient(pipeline)
    await asyncio.to_thread(pipeline.secured.add_user, "clipmill", "changed")
    try:
        problem = await wait_for_access_problem(
            client, worker, "rejects the login of 'clipmill' (SCRAM-SHA-512)"
        )
        assert PASSWORD not in problem
    finally:
        await asyncio.to_thread(pipeline.secured.add_user, "clipmill")
    await wait_until_healthy(client, worker)
    log = worker.log.read_text()
    assert log.count("access to the cluster is lost: localhost") == 1, "one line, not many"
    assert PASSWORD not in log
