import gzip
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from streams.observability.health import Health
from streams.observability.http_server import AddressError, build_app, serve
from streams.observability.logs import TRACE
from streams.observability.metrics import StageMetrics

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health: Health) -> AsyncIterator[Client]:
    async with TestClient(TestServer(build_app(health))) as client:
        yield client


async def test_liveness_is_independent_of_readiness(client: Client, health: Health) -> None:
    health.set_check("broker", lambda: "is away")
    async with client.get("/health/live") as response:
        assert (response.status, await response.json()) == (200, {"status": "alive"})


async def test_readiness_lists_the_problems_until_resolved(client: Client, health: Health) -> None:
    state: list[str | None] = ["is away"]
    health.set_check("broker", lambda: state[0])
    async with client.get("/health/ready") as response:
        assert response.status == 503
        assert await response.json() == {
            "status": "waiting",
            "problems": {"broker": "is away"},
            "degraded": {},
            "warnings": {},
        }
    state[0] = None
    async with client.get("/health/ready") as response:
        assert (response.status, await response.json()) == (
            200,
            {"status": "ready", "problems": {}, "degraded": {}, "warnings": {}},
        )


async def test_process_stays_ready_while_the_pipeline_is_degraded(
    client: Client, health: Health
) -> None:
    health.set_pipeline_check(lambda: {"download": "has committed no heartbeat"})
    async with client.get("/health/ready") as response:
        body = await response.json()
    assert response.status == 200
    assert (body["status"], body["degraded"]) == (
        "degraded",
        {"download": "has committed no heartbeat"},
    )


async def test_metrics_are_in_prometheus_text_format(
    client: Client,
) -> None:
    StageMetrics("web-test").records_in.inc(3)
    async with client.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        families = list(text_string_to_metric_families(await response.text()))
    samples = [sample for family in families for sample in family.samples]
    found = [
        sample.value
        for sample in samples
        if sample.name == "clipmill_stage_records_in_total"
        and sample.labels == {"stage": "web-test"}
    ]
    assert found == [3.0]


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""Accept header of Prometheus 2.42 with default settings."""

PLAIN = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0"),
        ("text/plain;version=0.0.4", PLAIN),
        ("text/html, */*;q=0.8", PLAIN),
        ("", PLAIN),
        ("application/openmetrics-text; version=x", PLAIN),
        (";;;,=,version", PLAIN),
    ],
)
async def test_metrics_format_follows_the_accept_header(
    client: Client, accept: str, expected: str
) -> None:
    async with client.get("/metrics", headers={"Accept": accept}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith(expected)
        page = await response.text()
    assert page.endswith("# EOF\n") == expected.startswith("application/openmetrics-text")


async def test_exemplars_are_in_the_openmetrics_format_only(client: Client) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    token = TRACE.set(trace)
    try:
        StageMetrics("exemplary").records_finished((0.0,), 1)
    finally:
        TRACE.reset(token)
    async with client.get("/metrics", headers={"Accept": PROMETHEUS}) as response:
        families = list(openmetrics_families(await response.text()))  # type: ignore[no-untyped-call]
    exemplars = [
        each.exemplar.labels
        for family in families
        for each in family.samples
        if each.labels.get("stage") == "exemplary" and each.exemplar
    ]
    assert exemplars == [{"trace_id": trace}]
    async with client.get("/metrics") as response:
        assert trace not in await response.text()


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("", False),
        ("x-gzip-like", False),
    ],
)
async def test_metrics_are_compressed_if_the_client_accepts_gzip(
    health: Health, accepted: str, is_compressed: bool
) -> None:
    server = TestServer(build_app(health))
    async with (
        TestClient(server, auto_decompress=False) as client,
        client.get("/metrics", headers={"Accept-Encoding": accepted}) as response,
    ):
        body = await response.read()
        assert (response.headers.get("Content-Encoding") == "gzip") == is_compressed
        assert "Accept-Encoding" in response.headers["Vary"]
    page = gzip.decompress(body) if is_compressed else body
    assert page.startswith(b"# HELP")


@pytest.mark.parametrize("path", ["/", "/health", "/health/live/../../etc/passwd"])
async def test_other_paths_are_not_found(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_port_0_binds_a_free_port(host: str) -> None:
    async with serve(f"{host}:0", Health()) as url, aiohttp.ClientSession() as session:
        assert url.startswith(f"http://{host}:")
        async with session.get(f"{url}/health/live") as response:
            assert response.status == 200


async def test_port_is_released_on_exit() -> None:
    async with serve("127.0.0.1:0", Health()) as url:
        address = url.removeprefix("http://")
    async with serve(address, Health()) as again:
        assert again == url


async def test_port_in_use_raises_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressError, match=f"cannot listen on {address}.*--http HOST:PORT"):
            async with serve(address, Health()):
                pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_default_port_in_use_falls_back_to_a_free_port_and_logs_it(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(f"{host}:0", Health()) as first:
        address = first.removeprefix("http://")
        async with (
            serve(address, Health(), or_free_port=True) as second,
            aiohttp.ClientSession() as session,
            session.get(f"{second}/health/live") as response,
        ):
            assert response.status == 200
            assert second.startswith(f"http://{host}:")
            assert second != first
            assert address in caplog.text
            assert f"port {second.rpartition(':')[2]}" in caplog.text


async def test_other_bind_errors_have_no_fallback() -> None:
    foreign = "192.0.2.1:8080"
    with pytest.raises(AddressError, match=f"cannot listen on {foreign}"):
        async with serve(foreign, Health(), or_free_port=True):
            pass


@pytest.mark.parametrize(
    "address",
    [
        *("", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:²"),
        *("127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:99999", "127.0.0.1:" + "9" * 5000),
    ],
)
async def test_malformed_address_is_rejected(address: str) -> None:
    with pytest.raises(AddressError, match="is not HOST:PORT"):
        async with serve(address, Health()):
            pass
