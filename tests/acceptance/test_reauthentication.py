"""A broker that ends connections with their logins; aiokafka cannot renew a login (KIP-368)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from streams.contract.role_acls import client_acls, worker_acls
from streams.stage import load_stages
from tests.acceptance.desk import page
from tests.acceptance.secured_house import ForeignClient, SecuredHouse
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 6
"""Life of a login. The service then works over connections that are opened again all the time."""


RENEWALS = 4


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredHouse]:
    limit = {"connections_max_reauth_ms": str(SECONDS * 1000)}
    folder = tmp_path_factory.mktemp("house")
    async with SecuredHouse(folder, users=("clipmill",), **limit) as house:
        house.secured.allow("User:clipmill", worker_acls(load_stages(), "clipmill."))
        house.secured.allow("User:clipmill", client_acls("clipmill.", ("foreign",)))
        yield house


async def test_requests_are_answered_while_logins_end(house: SecuredHouse) -> None:
    house.secured.issuer.lifetime_seconds = SECONDS
    login = house.login("OAUTHBEARER")
    worker = await house.start_worker("all", **login.variables)
    client = ForeignClient(house.login("SCRAM-SHA-512"))
    before, asked = house.secured.issuer.grants, 0
    try:
        async with asyncio.timeout(240):
            while house.secured.issuer.grants < before + RENEWALS:
                asked += 1
                request = {"id": str(asked), "url": page(video_id(serial=asked)), "action": "info"}
                [result] = await client.ask(request)
                assert result["status"] == "completed"
                await asyncio.sleep(0.3)
    finally:
        client.close()
    assert worker.running()
    results = await house.results(asked)
    assert {name: len(copies) for name, copies in results.items()} == dict.fromkeys(results, 1)
