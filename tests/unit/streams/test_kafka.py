import ssl
from pathlib import Path

import pytest
import trustme
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError

from streams.kafka import (
    ClusterAwayError,
    client_options,
    explained,
    faust_broker,
    faust_credentials,
)
from streams.settings import KafkaSettings

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


def test_a_plain_connection() -> None:
    assert client_options(kafka("PLAINTEXT")) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }
    assert faust_credentials(kafka("PLAINTEXT")) is None


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_tls_checks_certificate_and_name(protocol: str, ca_file: Path) -> None:
    context = client_options(kafka(protocol, ca_file=ca_file))["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(("protocol", "field"), [("SSL", "context"), ("SASL_SSL", "ssl_context")])
def test_faust_checks_them_too(protocol: str, field: str, ca_file: Path) -> None:
    context = getattr(faust_credentials(kafka(protocol, ca_file=ca_file)), field)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_tls_without_a_root_file_trusts_the_system() -> None:
    context = client_options(kafka("SSL"))["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(("protocol", "tls"), [("SASL_PLAINTEXT", False), ("SASL_SSL", True)])
def test_login(protocol: str, tls: bool) -> None:
    options = client_options(kafka(protocol))
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["sasl_plain_username"] == "me"
    assert options["sasl_plain_password"] == "secret"
    assert (options["ssl_context"] is not None) is tls
    credentials = faust_credentials(kafka(protocol))
    assert (credentials.username, credentials.password) == ("me", "secret")
    assert credentials.protocol.value == protocol
    assert credentials.mechanism.value == "SCRAM-SHA-512"


def test_a_login_is_not_sent_without_being_asked_for() -> None:
    settings = KafkaSettings.model_validate(LOGIN | {"security_protocol": "PLAINTEXT"})
    assert not [name for name in client_options(settings) if name.startswith("sasl")]


def test_faust_gets_all_brokers() -> None:
    assert faust_broker(kafka("PLAINTEXT")) == "aiokafka://a:1;aiokafka://b:2"


def test_a_cluster_that_is_away_is_explained() -> None:
    with pytest.raises(ClusterAwayError, match="no broker answers at a:1,b:2") as caught:  # noqa: SIM117
        with explained(kafka("PLAINTEXT")):
            raise KafkaConnectionError("refused")
    assert "--bootstrap HOST:PORT" in str(caught.value)


def test_a_root_file_that_is_not_there_is_explained() -> None:
    with pytest.raises(ClusterAwayError, match=r"nowhere\.pem"), explained(kafka("SSL")):
        client_options(kafka("SSL", ca_file="nowhere.pem"))


@pytest.mark.parametrize("error", [TopicAuthorizationFailedError("x"), KafkaError("y")])
def test_other_errors_of_the_cluster_are_explained_too(error: KafkaError) -> None:
    with pytest.raises(ClusterAwayError, match="a:1,b:2 refuses"), explained(kafka("PLAINTEXT")):
        raise error
