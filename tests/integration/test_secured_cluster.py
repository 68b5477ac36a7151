"""Refusals of a real Kafka with TLS, SASL and an authorizer, and the client's error messages."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError

from schemas.commands import Cancel
from streams.broker.broker import EmbeddedBroker
from streams.broker.config import Additions
from streams.client import Client, read_signals
from streams.cluster.acls import Acl, topic_acls
from streams.cluster.authorization import MissingAclError, _fetch_missing, missing_acls
from streams.cluster.connection import ClusterUnavailableError, client_options, translate_errors
from streams.cluster.topic_admin import apply_topics, check_topics
from streams.console.health.lag import StageLag, measure_lag
from streams.console.pipeline import Pipeline
from streams.contract.role_acls import client_acls, console_acls, worker_acls
from streams.deadletters.replay import open_replay_producer
from streams.history.audit_lookup import read_history
from streams.history.follower import HistoryFollower
from streams.history.order_list import OrderFilter, find_orders
from streams.history.store import HistoryStore
from streams.settings import KafkaSettings
from streams.settings.console import HistorySettings
from streams.stage import Stage, load_stages
from streams.topics import COMMANDS, REQUESTS, RESULTS, TOPICS
from tests.secured_broker import (
    CLIENT_SECRET,
    KEY_PASSWORD,
    PASSWORD,
    SecuredBroker,
    free_places,
    secured_broker,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRETS = (PASSWORD, KEY_PASSWORD, CLIENT_SECRET, "wrong one")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredBroker]:
    users = ("clipmill", "nobody", "asker", "console")
    async with secured_broker(tmp_path_factory.mktemp("secured"), users=users) as cluster:
        await apply_topics(KafkaSettings(bootstrap=cluster.broker.bootstrap), TOPICS)
        await asyncio.to_thread(
            cluster.allow, "User:clipmill", worker_acls(load_stages(), "clipmill.")
        )
        await asyncio.to_thread(cluster.allow, "User:asker", client_acls("clipmill."))
        await asyncio.to_thread(
            cluster.allow, "User:console", console_acls(load_stages(), "clipmill.")
        )
        yield cluster


Options = dict[str, Any]


def password(cluster: SecuredBroker, **more: Any) -> Options:
    return {
        "bootstrap": cluster.places["LOGIN"],
        "security_protocol": "SASL_SSL",
        "ca_file": cluster.certificates.ca_file,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "clipmill",
        "sasl_password": PASSWORD,
        **more,
    }


def token(cluster: SecuredBroker, **more: Any) -> Options:
    return {
        "bootstrap": cluster.places["TOKEN"],
        "security_protocol": "SASL_SSL",
        "ca_file": cluster.certificates.ca_file,
        "sasl_mechanism": "OAUTHBEARER",
        "oauth_token_url": cluster.issuer.url,
        "oauth_client_id": "clipmill",
        "oauth_client_secret": CLIENT_SECRET,
        **more,
    }


def tls(cluster: SecuredBroker, **more: Any) -> Options:
    return {
        "bootstrap": cluster.places["MUTUAL"],
        "security_protocol": "SSL",
        "ca_file": cluster.certificates.ca_file,
        **more,
    }


def mutual(cluster: SecuredBroker, name: str = "clipmill", **more: Any) -> Options:
    cert, key = cluster.certificates.client(name, **more)
    return tls(cluster, cert_file=cert, key_file=key)


def expired(cluster: SecuredBroker) -> Options:
    then, later = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
    return mutual(cluster, "expired", not_before=then, not_after=later)


def locked(cluster: SecuredBroker, **more: Any) -> Options:
    return mutual(cluster, "locked", password=KEY_PASSWORD) | more


def by_address(options: Options) -> Options:
    """Connect to the address instead of the certificate's host name."""
    return options | {"bootstrap": options["bootstrap"].replace("localhost", "127.0.0.1")}


Maker = Callable[[SecuredBroker], Options]

ACCEPTED: dict[str, Maker] = {
    "SCRAM-SHA-512": password,
    "SCRAM-SHA-256": lambda c: password(c, sasl_mechanism="SCRAM-SHA-256"),
    "PLAIN": lambda c: password(c, sasl_mechanism="PLAIN"),
    "SCRAM without TLS": lambda c: password(
        c, bootstrap=c.places["OPENLOGIN"], security_protocol="SASL_PLAINTEXT"
    ),
    "OAUTHBEARER": token,
    "mutual TLS": mutual,
    "mutual TLS with an encrypted key": lambda c: (
        mutual(c, "clipmill", password=KEY_PASSWORD) | {"key_password": KEY_PASSWORD}
    ),
    "TLS": lambda c: tls(c, bootstrap=c.places["SERVERTLS"]),
    "TLS without the host's name": lambda c: by_address(
        tls(c, bootstrap=c.places["SERVERTLS"], check_hostname=False)
    ),
}


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
async def test_login_is_accepted(cluster: SecuredBroker, make: Maker) -> None:
    await check_topics(KafkaSettings.model_validate(make(cluster)), TOPICS)


REFUSED: dict[str, tuple[Maker, str]] = {
    "a wrong password": (
        lambda c: password(c, sasl_password="wrong one"),
        r"LOGIN rejects the login of 'clipmill' \(SCRAM-SHA-512\): .*kafka\.sasl_password",
    ),
    "a wrong password in PLAIN": (
        lambda c: password(c, sasl_password="wrong one", sasl_mechanism="PLAIN"),
        r"LOGIN rejects the login of 'clipmill' \(PLAIN\): .*kafka\.sasl_password",
    ),
    "an unknown user": (
        lambda c: password(c, sasl_username="unknown"),
        r"LOGIN rejects the login of 'unknown' .*check kafka\.sasl_username",
    ),
    "a mechanism that is not offered": (
        lambda c: password(c, bootstrap=c.places["TOKEN"]),
        r"TOKEN does not offer kafka\.sasl_mechanism SCRAM-SHA-512, but OAUTHBEARER",
    ),
    "tokens where passwords are asked for": (
        lambda c: token(c, bootstrap=c.places["LOGIN"]),
        r"LOGIN does not offer kafka\.sasl_mechanism OAUTHBEARER, but .*PLAIN",
    ),
    "a wrong client secret": (
        lambda c: token(c, oauth_client_secret="wrong one"),
        r"no token for TOKEN: .* answers 401 \(invalid_client .*kafka\.oauth_client_secret",
    ),
    "a token endpoint that is away": (
        lambda c: token(c, oauth_token_url="http://127.0.0.1:1/token"),
        r"no token for TOKEN: .*127\.0\.0\.1:1/token does not answer .*kafka\.oauth_token_url",
    ),
    "no client certificate": (
        tls,
        r"MUTUAL requires a client certificate .*set kafka\.cert_file and kafka\.key_file",
    ),
    "a client certificate of another authority": (
        lambda c: mutual(c, "stranger", authority=c.certificates.stranger),
        r"MUTUAL rejects the client certificate kafka\.cert_file",
    ),
    "an expired client certificate": (
        expired,
        r"MUTUAL rejects the client certificate kafka\.cert_file .*valid now",
    ),
    "an encrypted key without its password": (locked, r"is encrypted: set kafka\.key_password"),
    "a wrong key password": (
        lambda c: locked(c, key_password="wrong one"),
        r"kafka\.key_password does not open kafka\.key_file",
    ),
    "a broker of another authority": (
        lambda c: mutual(c) | {"ca_file": c.certificates.stranger_ca_file},
        r"certificate of MUTUAL is not trusted .*kafka\.ca_file",
    ),
    "a broker of another name": (
        lambda c: by_address(mutual(c)),
        r"is for another host .*kafka\.bootstrap .*kafka\.check_hostname",
    ),
    "PLAINTEXT where TLS is spoken": (
        lambda c: {"bootstrap": c.places["SERVERTLS"]},
        r"SERVERTLS speaks TLS, but kafka\.security_protocol is PLAINTEXT: set it to SSL",
    ),
    "PLAINTEXT where TLS and a login are asked for": (
        lambda c: {"bootstrap": c.places["LOGIN"]},
        r"LOGIN speaks TLS, .*PLAINTEXT: set it to SSL, or SASL_SSL where a login is required",
    ),
    "PLAINTEXT where a login is asked for": (
        lambda c: {"bootstrap": c.places["OPENLOGIN"]},
        r"LOGIN requires a login: set kafka\.security_protocol to SASL_PLAINTEXT .*PLAIN",
    ),
    "TLS without a login": (
        lambda c: tls(c, bootstrap=c.places["LOGIN"]),
        r"LOGIN requires a login: set kafka\.security_protocol to SASL_SSL .*SCRAM-SHA-512",
    ),
    "TLS where none is spoken": (
        lambda c: tls(c, bootstrap=c.broker.bootstrap),
        r"speaks no TLS, but kafka\.security_protocol is SSL: set it to PLAINTEXT",
    ),
    "TLS and a login where no TLS is spoken": (
        lambda c: password(c, bootstrap=c.places["OPENLOGIN"]),
        r"LOGIN speaks no TLS, .* is SASL_SSL: set it to SASL_PLAINTEXT",
    ),
    "a login without TLS where TLS is spoken": (
        lambda c: password(c, security_protocol="SASL_PLAINTEXT"),
        r"LOGIN speaks TLS, .* is SASL_PLAINTEXT: set it to SASL_SSL",
    ),
    "a login where none is asked for": (
        lambda c: password(c, bootstrap=c.places["SERVERTLS"]),
        r"SERVERTLS requires no login: set kafka\.security_protocol to SSL",
    ),
    "a login without TLS where none is asked for": (
        lambda c: password(c, bootstrap=c.broker.bootstrap, security_protocol="SASL_PLAINTEXT"),
        r"requires no login: set kafka\.security_protocol to PLAINTEXT",
    ),
    "no listener at one of two addresses, a wrong password at the other": (
        lambda c: password(
            c, bootstrap=f"127.0.0.1:1,{c.places['LOGIN']}", sasl_password="wrong one"
        ),
        r"127\.0\.0\.1:1: the connection was refused(.|\n)*LOGIN rejects the login",
    ),
}


@pytest.mark.parametrize(("make", "text"), REFUSED.values(), ids=REFUSED)
async def test_refused_connection_names_the_setting(
    cluster: SecuredBroker, make: Maker, text: str
) -> None:
    with pytest.raises(ClusterUnavailableError) as caught:
        await check_topics(KafkaSettings.model_validate(make(cluster)), TOPICS)
    message = str(caught.value)
    for listener, place in cluster.places.items():
        message = message.replace(place, listener)
    assert re.search(text, message), message
    assert not [secret for secret in SECRETS if secret in message]


async def test_rejected_token_is_named(cluster: SecuredBroker) -> None:
    """The broker rejects it without an error code, see `CheckedAuthenticator`."""
    cluster.issuer.audience = "another"
    try:
        with pytest.raises(
            ClusterUnavailableError, match=r"rejects the token .*invalid_token.*audience"
        ):
            await check_topics(
                KafkaSettings.model_validate(token(cluster, oauth_scope="another")), TOPICS
            )
    finally:
        cluster.issuer.audience = cluster.issuer.AUDIENCE


async def test_one_token_is_used_for_all_connections(cluster: SecuredBroker) -> None:
    kafka = KafkaSettings.model_validate(token(cluster, oauth_scope="shared"))
    before = cluster.issuer.grants
    for _ in range(3):
        await check_topics(kafka, TOPICS)
    assert cluster.issuer.grants == before + 1
    assert cluster.issuer.forms[-1]["scope"] == ["shared"]


async def test_replaced_certificate_is_used_at_the_next_connection(
    cluster: SecuredBroker,
) -> None:
    kafka = KafkaSettings.model_validate(mutual(cluster, "nobody"))
    assert kafka.cert_file is not None
    assert kafka.key_file is not None
    needed = topic_acls("clipmill.", reads=(RESULTS,))
    options = client_options(kafka)
    assert await _fetch_missing(options, needed) == needed
    cert, key = cluster.certificates.client("asker")
    for old, new in ((kafka.cert_file, cert), (kafka.key_file, key)):
        new.replace(old)
    assert await _fetch_missing(options, needed) == []


async def test_client_certificate_works_with_uvloop(cluster: SecuredBroker) -> None:
    options = client_options(KafkaSettings.model_validate(mutual(cluster)))
    host, _, port = options.pop("bootstrap_servers")[0].rpartition(":")

    async def connect() -> None:
        await (await create_conn(host, int(port), **options)).close()

    await asyncio.to_thread(uvloop.run, connect())


# Errors of clients without permissions


@pytest.fixture
def unauthorized(cluster: SecuredBroker) -> KafkaSettings:
    return KafkaSettings.model_validate(password(cluster, sasl_username="nobody"))


async def test_topics_without_describe_permission_are_not_reported_missing(
    unauthorized: KafkaSettings,
) -> None:
    with pytest.raises(MissingAclError, match="DESCRIBE and DESCRIBE_CONFIGS on topic clipmill"):
        await check_topics(unauthorized, TOPICS)


async def test_topics_without_create_permission_are_named(
    cluster: SecuredBroker, unauthorized: KafkaSettings
) -> None:
    other = unauthorized.model_copy(update={"topic_prefix": "new."})
    seen = Acl("topic", REQUESTS.kafka_name("new."), ("DESCRIBE", "DESCRIBE_CONFIGS"))
    await asyncio.to_thread(cluster.allow, "User:nobody", [seen])
    with pytest.raises(MissingAclError, match=r"CREATE on topic new\.requests\.v1"):
        await apply_topics(other, [REQUESTS])


async def test_missing_client_acls_are_named(unauthorized: KafkaSettings) -> None:
    with pytest.raises(MissingAclError, match=r"READ on topic clipmill\.progress"):
        async with Client(unauthorized):
            raise AssertionError("it opens")
    with pytest.raises(MissingAclError, match=r"READ on topic clipmill\.signals"):
        await read_signals(unauthorized, "")
    with pytest.raises(MissingAclError, match=r"READ on topic clipmill\.audit"):
        await read_history(unauthorized, "a")
    with pytest.raises(
        MissingAclError, match=r"WRITE on transactional-id clipmill\.deadletters-replay"
    ):
        async with open_replay_producer(unauthorized):
            raise AssertionError("it replays")


async def test_missing_write_acl_is_named_when_publishing(
    cluster: SecuredBroker,
) -> None:
    kafka = KafkaSettings.model_validate(password(cluster, sasl_username="asker"))
    revoked = Acl("topic", REQUESTS.kafka_name(), ("WRITE",))
    await asyncio.to_thread(cluster.forbid, "User:asker", revoked)
    try:
        async with Client(kafka) as client:
            with pytest.raises(MissingAclError, match=r"WRITE on topic clipmill\.requests\.v1"):
                await client.publish([b'{"url": "https://x", "id": "a"}'])
    finally:
        await asyncio.to_thread(cluster.allow, "User:asker", [revoked])
    async with Client(kafka) as client:
        await client.publish([b'{"url": "https://x", "id": "a"}'])


async def test_console_measures_lag_with_the_acls_of_its_role(cluster: SecuredBroker) -> None:
    stages = load_stages()
    kafka = KafkaSettings.model_validate(password(cluster, sasl_username="console"))
    found = await _measured(kafka, stages)
    # Other tests may have published requests.
    assert {name: each.members for name, each in found.items()} == {each.name: 0 for each in stages}
    assert found["download"].lag == 0


async def _measured(kafka: KafkaSettings, stages: Sequence[Stage]) -> Mapping[str, StageLag]:
    """Return the lag as soon as a new cluster has coordinators of its groups."""
    async with asyncio.timeout(20):
        while True:
            with suppress(ClusterUnavailableError):
                return await measure_lag(kafka, stages, Pipeline(kafka, stages))
            await asyncio.sleep(0.1)


async def test_missing_acls_of_the_lag_are_named(cluster: SecuredBroker) -> None:
    kafka = KafkaSettings.model_validate(password(cluster, sasl_username="asker"))
    with pytest.raises(MissingAclError, match=r"DESCRIBE on group .*clipmill\.download"):
        await measure_lag(kafka, load_stages(), Pipeline(kafka, load_stages()))


async def test_history_is_read_without_the_orders_until_their_acl_is_there(
    cluster: SecuredBroker, tmp_path: Path
) -> None:
    kafka = KafkaSettings.model_validate(password(cluster, sasl_username="asker"))
    missing = Acl("topic", COMMANDS.kafka_name(), ("READ",))
    async with Client(kafka) as client:
        await client.send_command(Cancel(request_id="a", by="ann"))
    with HistoryStore(tmp_path / "history.db") as store:
        async with HistoryFollower(kafka, store, HistorySettings()) as follower:
            await follower.catch_up()
        assert "READ on topic clipmill.commands.v1" in (follower.orders_problem or "")
        assert find_orders(store, OrderFilter(), 10) == []
        await asyncio.to_thread(cluster.allow, "User:asker", [missing])
        try:
            async with HistoryFollower(kafka, store, HistorySettings()) as follower:
                await follower.catch_up()
        finally:
            await asyncio.to_thread(cluster.forbid, "User:asker", missing)
        assert follower.orders_problem is None
        assert "ann" in [each.by for each in find_orders(store, OrderFilter(), 10)]


async def test_no_acl_is_missing_without_an_authorizer(open_cluster: tuple[str, str]) -> None:
    kafka = KafkaSettings(bootstrap=open_cluster[0])
    assert await missing_acls(kafka, worker_acls(load_stages(), "clipmill.")) == []


async def test_unreachable_advertised_address_is_named(
    open_cluster: tuple[str, str],
) -> None:
    _, unreachable = open_cluster
    text = rf"{unreachable} answers, but 127\.0\.0\.1:1 .*advertised\.listeners.*: .*refused"
    with pytest.raises(ClusterUnavailableError, match=text):
        async with translate_errors(KafkaSettings(bootstrap=unreachable)):
            raise KafkaConnectionError("what aiokafka says of it")


async def test_lost_connection_to_a_reachable_broker_is_reported_as_lost(
    open_cluster: tuple[str, str],
) -> None:
    reachable, _ = open_cluster
    with pytest.raises(
        ClusterUnavailableError, match=f"the connection to the cluster at {reachable} was lost"
    ):
        async with translate_errors(KafkaSettings(bootstrap=reachable)):
            raise KafkaConnectionError("closed")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def open_cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[str, str]]:
    """A broker without an authorizer; its second listener advertises a wrong address."""
    reachable, unreachable = free_places(2)
    additions = Additions(
        listeners={"FAR": unreachable},
        properties={
            "advertised.listeners": f"PLAINTEXT://{reachable},FAR://127.0.0.1:1",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,FAR:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
        },
    )
    folder = tmp_path_factory.mktemp("open")
    port = int(reachable.rpartition(":")[2])
    async with EmbeddedBroker(folder, port=port, additions=additions):
        yield reachable, unreachable
