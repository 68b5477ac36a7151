"""Every kind of login, through a request to its result, with a client on librdkafka."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from streams.contract.role_acls import client_acls, worker_acls
from streams.stage import load_stages
from tests.acceptance.desk import page
from tests.acceptance.secured_house import ForeignClient, SecuredHouse
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = "clipmill."
KINDS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OPEN", "MUTUAL", "OAUTHBEARER")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredHouse]:
    async with SecuredHouse(tmp_path_factory.mktemp("house"), users=("clipmill",)) as house:
        house.secured.allow("User:clipmill", worker_acls(load_stages(), PREFIX))
        house.secured.allow("User:clipmill", client_acls(PREFIX, KINDS))
        yield house


@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_is_answered_over_every_login(house: SecuredHouse, kind: str) -> None:
    login = house.login(kind)
    worker = await house.start_worker("all", **login.variables)
    client = ForeignClient(login, group=kind)
    try:
        serial = KINDS.index(kind) + 1
        request = {"id": f"by-{kind}", "url": page(video_id("ok", serial=serial))}
        [result] = await client.ask(request)
        assert result["status"] == "completed"
        status = await house.clipmill("status", f"by-{kind}", **login.variables)
        assert status[0] == 0, status
    finally:
        client.close()
        assert worker.terminate() == 0
    assert house.secured.denied("User:clipmill") == []
    assert "Traceback" not in worker.log.read_text()


@pytest.mark.parametrize("command", [("worker", "all"), ("status", "a"), ("topics", "check")])
async def test_a_wrong_password_ends_in_one_readable_error(
    house: SecuredHouse, command: tuple[str, ...]
) -> None:
    wrong = house.login("PLAIN").variables | {"CLIPMILL_KAFKA__SASL_PASSWORD": "wrong one"}
    status, output, complaints = await house.clipmill(*command, **wrong)
    assert (status, output) == (1, "")
    assert "refuses the login of 'clipmill' (PLAIN)" in complaints
    assert "check kafka.sasl_username, kafka.sasl_password" in complaints
    assert "Traceback" not in complaints
    assert "wrong one" not in complaints
