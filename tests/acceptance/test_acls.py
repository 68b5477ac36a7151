"""Principals with the ACLs that `clipmill topics acls` prints, and nothing more."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from click.testing import CliRunner

from streams.cli.topics import topics
from streams.cluster.acls import Acl, Operation, Resource
from streams.cluster.authorization import missing_acls
from streams.settings import KafkaSettings
from streams.topics import AUDIT, VALIDATED
from tests.acceptance.desk import Desk, get, page
from tests.acceptance.secured_house import ForeignClient, Login, SecuredHouse
from tests.house import Process
from tests.secured_broker import PASSWORD
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLES = {"clipmill": "worker", "asker": "client", "keeper": "operator", "boss": "admin"}
GROUP = "asker-results"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredHouse]:
    """A house with a principal for each role, whose ACLs are those that are printed for it."""
    async with SecuredHouse(tmp_path_factory.mktemp("house"), users=tuple(ROLES)) as house:
        for name, role in ROLES.items():
            house.secured.allow(f"User:{name}", printed_acls(role, name))
        yield house


def printed_acls(role: str, name: str, **variables: str) -> list[Acl]:
    """Return what `clipmill topics acls ROLE` prints for a principal."""
    options = ["--group", GROUP] if role == "client" else []
    command = ["acls", role, "--principal", f"User:{name}", "--json", *options]
    outcome = CliRunner().invoke(topics, command, env=variables)
    assert outcome.exit_code == 0, outcome.output
    lines = [json.loads(line) for line in outcome.output.splitlines()]
    assert {line.pop("principal") for line in lines} == {f"User:{name}"}
    return [Acl(**line | {"operations": tuple(line["operations"])}) for line in lines]


@pytest.fixture(scope="module")
def login(house: SecuredHouse) -> Login:
    return house.login("SCRAM-SHA-512")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(house: SecuredHouse, login: Login) -> Process:
    return await house.start_worker("all", **login.variables)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(house: SecuredHouse) -> AsyncIterator[ForeignClient]:
    client = ForeignClient(house.login("SCRAM-SHA-256", "asker"), group=GROUP)
    yield client
    client.close()


async def is_named(desk: Desk, worker: Process, text: str) -> str:
    """Return what a worker says of its access once it names this."""
    async with asyncio.timeout(60):
        while text not in (problem := await desk.problem(worker, "access", seconds=60)):
            await desk.house.read_results(0.2)
    return problem


async def is_well(desk: Desk, worker: Process) -> None:
    """Return when nothing is wrong with a worker any more."""
    deadline = time.monotonic() + 60
    while problems := json.loads(await get(f"{worker.ready['http']}/health/ready"))["problems"]:
        assert time.monotonic() < deadline, problems
        await desk.house.read_results(0.2)


def acl(resource: Resource, name: str, operation: Operation) -> Acl:
    return Acl(resource, name, (operation,))


async def test_an_admin_makes_all_topics(house: SecuredHouse) -> None:
    """In a cluster of its own name, as the house has made those of the default one."""
    boss = house.login("PLAIN", "boss")
    other = boss.variables | {"CLIPMILL_KAFKA__TOPIC_PREFIX": "other."}
    status, _, complaints = await house.clipmill("topics", "apply", **other)
    assert status == 1
    assert "does not allow the login 'boss' (PLAIN) to" in complaints
    assert "DESCRIBE and DESCRIBE_CONFIGS on topic other.requests.v1, other.videos" in complaints
    made = printed_acls("admin", "boss", CLIPMILL_KAFKA__TOPIC_PREFIX="other.")
    await asyncio.to_thread(house.secured.allow, "User:boss", made)
    status, output, complaints = await house.clipmill("topics", "apply", **other)
    assert status == 0, complaints
    assert "created other.requests.v1" in output
    assert "created other.ledger-outcomes-changelog" in output
    assert (await house.clipmill("topics", "check", **other))[0] == 0


@pytest.mark.usefixtures("worker")
async def test_all_stages_work_without_a_right_to_create(
    house: SecuredHouse, client: ForeignClient
) -> None:
    """A file, a retry by a delay topic, and a failure."""
    results = await client.ask(
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
    assert house.secured.denied("User:clipmill") == []
    assert house.secured.denied("User:asker") == []


async def test_a_second_worker_shares_the_work(
    house: SecuredHouse, login: Login, worker: Process, client: ForeignClient
) -> None:
    second = await house.start_worker("all", **login.variables)
    requests = [
        {"id": f"shared-{serial}", "url": page(video_id(serial=serial)), "action": "info"}
        for serial in range(20, 40)
    ]
    assert {each["status"] for each in await client.ask(*requests)} == {"completed"}
    members = await asyncio.to_thread(house.secured.client_ids, "clipmill.validation")
    assert members == ["clipmill-validation"] * 2, "quotas and broker logs tell clients apart"
    second.kill()
    requests = [
        {"id": f"alone-{serial}", "url": page(video_id(serial=serial)), "action": "info"}
        for serial in range(40, 50)
    ]
    assert {each["status"] for each in await client.ask(*requests)} == {"completed"}
    assert worker.running()
    assert house.secured.denied("User:clipmill") == []


@pytest.mark.usefixtures("worker")
async def test_an_operator_puts_dead_letters_back(house: SecuredHouse) -> None:
    await house.publish_to(VALIDATED, b"{no event")
    keeper = house.login("SCRAM-SHA-512", "keeper").variables
    async with asyncio.timeout(30):
        while True:
            status, output, complaints = await house.clipmill(
                "deadletters", "list", "--json", **keeper
            )
            assert status == 0, complaints
            if output.strip():
                break
    status, output, complaints = await house.clipmill("deadletters", "replay", **keeper)
    assert (status, output.split(";")[0].strip()) == (0, "1 put back"), complaints
    assert house.secured.denied("User:keeper") == []


async def test_a_client_may_not_work_and_is_told_what_it_lacks(house: SecuredHouse) -> None:
    asker = house.login("PLAIN", "asker").variables
    status, _, complaints = await house.clipmill("worker", "selection", **asker)
    assert status == 1
    assert "does not allow the login 'asker' (PLAIN) to" in complaints
    assert "READ on group clipmill.selection" in complaints
    assert "`clipmill topics acls`" in complaints
    status, _, complaints = await house.clipmill("deadletters", "list", **asker)
    assert (status, "READ on topic clipmill.deadletters.v1" in complaints) == (1, True)
    status, _, complaints = await house.clipmill("topics", "apply", **asker)
    assert (status, "DESCRIBE_CONFIGS on topic" in complaints) == (1, True)


async def test_a_worker_may_not_ask_and_is_told_what_it_lacks(
    house: SecuredHouse, login: Login
) -> None:
    url = page(video_id())
    status, _, complaints = await house.clipmill("submit", "--wait", url, **login.variables)
    assert status == 1
    assert "READ on topic clipmill.progress.v1, clipmill.results.v1" in complaints


async def test_a_worker_without_one_acl_names_it_at_its_start(
    house: SecuredHouse, login: Login
) -> None:
    lost = acl("topic", "clipmill.requests.v1", "READ")
    await asyncio.to_thread(house.secured.forbid, "User:clipmill", lost)
    try:
        status, _, complaints = await house.clipmill("worker", "all", **login.variables)
    finally:
        await asyncio.to_thread(house.secured.allow, "User:clipmill", [lost])
    assert status == 1
    [line] = [line for line in complaints.splitlines() if line.startswith("  ")]
    assert line == "  READ on topic clipmill.requests.v1"


async def test_each_acl_of_a_worker_is_checked(
    house: SecuredHouse, login: Login, worker: Process
) -> None:
    kafka = KafkaSettings.model_validate(login.settings)
    needed = printed_acls("worker", "clipmill")
    for each in needed:
        lost = acl(each.resource, each.name, each.operations[0])
        await asyncio.to_thread(house.secured.forbid, "User:clipmill", lost)
        try:
            missing = await missing_acls(kafka, needed)
        finally:
            await asyncio.to_thread(house.secured.allow, "User:clipmill", [lost])
        [found] = missing
        assert (found.resource, found.name) == (lost.resource, lost.name)
        # Without READ or WRITE a topic may not be described: then its other rights are not told.
        assert set(lost.operations) <= set(found.operations)
    await is_well(Desk(house), worker)


async def test_acls_lost_while_it_runs_are_named_and_nothing_is_lost(
    house: SecuredHouse, worker: Process, client: ForeignClient
) -> None:
    desk = Desk(house)
    lost = acl("topic", AUDIT.kafka_name(), "WRITE")
    await asyncio.to_thread(house.secured.forbid, "User:clipmill", lost)
    asked = asyncio.create_task(
        client.ask({"id": "held", "url": page(video_id(serial=60)), "action": "info"}, seconds=120)
    )
    try:
        await is_named(desk, worker, "WRITE on topic clipmill.audit.v1")
        assert house.secured.denied("User:clipmill"), "the broker's log shows what it denies"
        assert not asked.done()
    finally:
        await asyncio.to_thread(house.secured.allow, "User:clipmill", [lost])
    [result] = await asked
    assert result["status"] == "completed"
    await is_well(desk, worker)


@pytest.mark.parametrize(
    ("resource", "name"), [("topic", "clipmill.videos.validated.v1"), ("group", "clipmill.ledger")]
)
async def test_a_consumer_that_loses_its_acl_goes_on_when_it_is_back(
    house: SecuredHouse, worker: Process, client: ForeignClient, resource: Resource, name: str
) -> None:
    desk = Desk(house)
    lost = acl(resource, name, "READ")
    await asyncio.to_thread(house.secured.forbid, "User:clipmill", lost)
    request = {"id": f"held-{resource}", "url": page(video_id(serial=70)), "action": "info"}
    asked = asyncio.create_task(client.ask(request, seconds=120))
    try:
        await is_named(desk, worker, f"READ on {resource} {name}")
    finally:
        await asyncio.to_thread(house.secured.allow, "User:clipmill", [lost])
    [result] = await asked
    assert result["status"] == "completed"
    await is_well(desk, worker)


async def test_a_changed_password_is_named_while_it_runs(
    house: SecuredHouse, worker: Process
) -> None:
    """Connections that are open outlive it; the next one would fail."""
    desk = Desk(house)
    await asyncio.to_thread(house.secured.add_user, "clipmill", "changed")
    try:
        problem = await is_named(desk, worker, "refuses the login of 'clipmill' (SCRAM-SHA-512)")
        assert PASSWORD not in problem
    finally:
        await asyncio.to_thread(house.secured.add_user, "clipmill")
    await is_well(desk, worker)
    log = worker.log.read_text()
    assert log.count("the access to the cluster is lost: localhost") == 1, "one line, not many"
    assert PASSWORD not in log
