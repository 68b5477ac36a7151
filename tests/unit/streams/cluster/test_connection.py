import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from pydantic import SecretStr

from streams.cluster.connection import (
    ClusterUnavailableError,
    client_options,
    describe_login,
    stop_consumer,
    translate_errors,
)
from streams.faust_driver.app import faust_broker, faust_credentials
from streams.settings import KafkaSettings

TOKENS = {
    "oauth_token_url": "https://issuer.example/token",
    "oauth_client_id": "me",
    "oauth_client_secret": "secret",
}
LOGIN = {"sasl_username": "me", "sasl_password": "secret", "sasl_mechanism": "SCRAM-SHA-512"}


def kafka(protocol: str, **more: object) -> KafkaSettings:
    login = LOGIN if protocol.startswith("SASL") else {}
    return KafkaSettings.model_validate(
        {"bootstrap": "a:1,b:2", "security_protocol": protocol} | login | more
    )


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def test_plaintext_options() -> None:
    assert client_options(kafka("PLAINTEXT")) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "client_id": "clipmill",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }
    assert faust_credentials(kafka("PLAINTEXT")) is None


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_tls_verifies_certificate_and_host_name(protocol: str, ca_file: Path) -> None:
    context = client_options(kafka(protocol, ca_file=ca_file))["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(("protocol", "field"), [("SSL", "context"), ("SASL_SSL", "ssl_context")])
def test_faust_verifies_certificate_and_host_name(protocol: str, field: str, ca_file: Path) -> None:
    context = getattr(faust_credentials(kafka(protocol, ca_file=ca_file)), field)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_tls_without_ca_file_uses_the_system_trust_store() -> None:
    context = client_options(kafka("SSL"))["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(("protocol", "tls"), [("SASL_PLAINTEXT", False), ("SASL_SSL", True)])
def test_sasl_options_have_the_login(protocol: str, tls: bool) -> None:
    options = client_options(kafka(protocol))
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["sasl_plain_username"] == "me"
    assert options["sasl_plain_password"] == "secret"
    assert (options["ssl_context"] is not None) is tls
    credentials = faust_credentials(kafka(protocol))
    assert (credentials.username, credentials.password) == ("me", "secret")
    assert credentials.protocol.value == protocol
    assert credentials.mechanism.value == "SCRAM-SHA-512"


def test_login_is_not_used_without_sasl() -> None:
    settings = KafkaSettings.model_validate(LOGIN | {"security_protocol": "PLAINTEXT"})
    assert not [name for name in client_options(settings) if name.startswith("sasl")]


def test_faust_gets_all_brokers() -> None:
    assert faust_broker(kafka("PLAINTEXT")) == "aiokafka://a:1;aiokafka://b:2"


def test_client_ids_of_a_process_differ_by_role() -> None:
    assert client_options(kafka("PLAINTEXT"), "producer")["client_id"] == "clipmill-producer"
    named = kafka("PLAINTEXT", client_id="blue")
    assert client_options(named, "signals")["client_id"] == "blue-signals"


def test_oauth_token_provider_replaces_the_password_and_is_shared() -> None:
    settings = kafka("SASL_SSL", sasl_mechanism="OAUTHBEARER", **TOKENS)
    options = client_options(settings)
    assert options["sasl_mechanism"] == "OAUTHBEARER"
    assert "sasl_plain_password" not in options
    provider = options["sasl_oauth_token_provider"]
    assert client_options(settings)["sasl_oauth_token_provider"] is provider, (
        "shared by all clients"
    )
    credentials = faust_credentials(settings)
    assert credentials.oauth_cb is provider
    assert credentials.protocol.value == "SASL_SSL"
    other = settings.model_copy(update={"oauth_client_secret": SecretStr("another")})
    assert client_options(other)["sasl_oauth_token_provider"] is not provider


def test_client_certificate_is_loaded(ca_file: Path, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    leaf = trustme.CA().issue_cert("clipmill.example")
    leaf.cert_chain_pems[0].write_to_path(str(cert))
    leaf.private_key_pem.write_to_path(str(key))
    settings = kafka("SSL", ca_file=ca_file, cert_file=cert, key_file=key)
    assert client_options(settings)["ssl_context"].has_certificate
    assert faust_credentials(settings).context.has_certificate
    assert not client_options(kafka("SSL", ca_file=ca_file))["ssl_context"].has_certificate


async def test_unavailable_cluster_is_explained() -> None:
    host = f"127.0.0.1:{closed_port()}"
    with pytest.raises(ClusterUnavailableError, match=f"no broker answers at {host}") as caught:
        async with translate_errors(kafka("PLAINTEXT", bootstrap=host)):
            raise KafkaConnectionError("Unable to bootstrap")
    assert "--bootstrap HOST:PORT" in str(caught.value)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def test_missing_ca_file_is_explained() -> None:
    with pytest.raises(
        ClusterUnavailableError, match=r"kafka\.ca_file nowhere\.pem cannot be used"
    ):
        client_options(kafka("SSL", ca_file="nowhere.pem"))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TopicAuthorizationFailedError({"t"}), "does not authorize clients without .* topic t;"),
        (GroupAuthorizationFailedError("g"), "for the group g; `clipmill topics acls`"),
        (ClusterAuthorizationFailedError(), "for the cluster; `clipmill topics acls`"),
        (TransactionalIdAuthorizationFailed("i"), "for the transactional id i;"),
        (KafkaError("y"), "a:1,b:2 rejects the request: "),
    ],
)
async def test_authorization_error_is_explained(error: KafkaError, text: str) -> None:
    with pytest.raises(ClusterUnavailableError, match=text):
        async with translate_errors(kafka("PLAINTEXT")):
            raise error


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (kafka("PLAINTEXT"), "clients without a login"),
        (kafka("SASL_SSL"), "the login 'me' (SCRAM-SHA-512)"),
        (
            kafka("SASL_SSL", sasl_mechanism="OAUTHBEARER", **TOKENS),
            "the login 'me' (OAUTHBEARER)",
        ),
        (kafka("SSL", cert_file="me.pem"), "the certificate me.pem"),
    ],
)
def test_login_is_described_without_its_secret(settings: KafkaSettings, text: str) -> None:
    assert describe_login(settings) == text


async def test_fetch_that_aiokafka_cancels_itself_does_not_end_the_task_that_stops() -> None:
    class Consumer:
        async def stop(self) -> None:
            raise asyncio.CancelledError

    await stop_consumer(Consumer())


async def test_task_that_is_cancelled_while_its_consumer_stops_ends() -> None:
    class Consumer:
        async def stop(self) -> None:
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await stop_consumer(Consumer())
