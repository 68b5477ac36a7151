"""A broker that closes connections when their login expires; aiokafka cannot renew it (KIP-368)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from streams.contract.role_acls import client_acls, worker_acls
from streams.stage import load_stages
from tests.acceptance.client import page
from tests.acceptance.secured_pipeline import ForeignClient, SecuredPipeline
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 6
"""Lifetime of a login: the service keeps reconnecting."""


RENEWALS = 4


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredPipeline]:
    limit = {"connections_max_reauth_ms": str(SECONDS * 1000)}
    folder = tmp_path_factory.mktemp("pipeline")
    async with SecuredPipeline(folder, users=("clipmill",), **limit) as pipeline:
        pipeline.secured.allow("User:clipmill", worker_acls(load_stages(), "clipmill."))
        pipeline.secured.allow("User:clipmill", client_acls("clipmill.", ("foreign",)))
        yield pipeline


async def test_requests_complete_while_logins_expire(pipeline: SecuredPipeline) -> None:
    pipeline.secured.issuer.lifetime_seconds = SECONDS
    login = pipeline.login("OAUTHBEARER")
    worker = await pipeline.start_worker("all", **login.variables)
    client = ForeignClient(pipeline.login("SCRAM-SHA-512"))
    before, count = pipeline.secured.issuer.grants, 0
    try:
        async with asyncio.timeout(240):
            while pipeline.secured.issuer.grants < before + RENEWALS:
                count += 1
                request = {"id": str(count), "url": page(video_id(serial=count)), "action": "info"}
                [result] = await client.request(request)
                assert result["status"] == "completed"
                await asyncio.sleep(0.3)
    finally:
        client.close()
    assert worker.running()
    results = await pipeline.results(count)
    assert {name: len(copies) for name, copies in results.items()} == dict.fromkeys(results, 1)
