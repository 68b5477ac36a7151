"""Every kind of login, from a request to its result, with a librdkafka client."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from streams.contract.role_acls import client_acls, worker_acls
from streams.stage import load_stages
from tests.acceptance.client import page
from tests.acceptance.secured_pipeline import ForeignClient, SecuredPipeline
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = "clipmill."
KINDS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OPEN", "MUTUAL", "OAUTHBEARER")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pipeline(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredPipeline]:
    async with SecuredPipeline(
        tmp_path_factory.mktemp("pipeline"), users=("clipmill",)
    ) as pipeline:
        pipeline.secured.allow("User:clipmill", worker_acls(load_stages(), PREFIX))
        pipeline.secured.allow("User:clipmill", client_acls(PREFIX, KINDS))
        yield pipeline


@pytest.mark.parametrize("kind", KINDS)
async def test_request_completes_over_every_login(pipeline: SecuredPipeline, kind: str) -> None:
    login = pipeline.login(kind)
    worker = await pipeline.start_worker("all", **login.variables)
    client = ForeignClient(login, group=kind)
    try:
        serial = KINDS.index(kind) + 1
        request = {"id": f"by-{kind}", "url": page(video_id("ok", serial=serial))}
        [result] = await client.request(request)
        assert result["status"] == "completed"
        status = await pipeline.clipmill("status", f"by-{kind}", **login.variables)
        assert status[0] == 0, status
    finally:
        client.close()
        assert worker.terminate() == 0
    assert pipeline.secured.denied("User:clipmill") == []
    assert "Traceback" not in worker.log.read_text()


@pytest.mark.parametrize("command", [("worker", "all"), ("status", "a"), ("topics", "check")])
async def test_wrong_password_is_one_readable_error(
    pipeline: SecuredPipeline, command: tuple[str, ...]
) -> None:
    wrong = pipeline.login("PLAIN").variables | {"CLIPMILL_KAFKA__SASL_PASSWORD": "wrong one"}
    status, output, errors = await pipeline.clipmill(*command, **wrong)
    assert (status, output) == (1, "")
    assert "rejects the login of 'clipmill' (PLAIN)" in errors
    assert "check kafka.sasl_username, kafka.sasl_password" in errors
    assert "Traceback" not in errors
    assert "wrong one" not in errors
