"""Options of Kafka connections: the one place for bootstrap, TLS, login and client id."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from streams.cluster import closed_connections, record_batches, wire_codec
from streams.cluster.connection_failure import find_failure
from streams.cluster.oauth import TokenProviderError, token_provider
from streams.cluster.tls import TlsError, ssl_context
from streams.errors import OperatorError
from streams.settings import KafkaSettings

AUTHORIZATION_ERRORS: dict[type[KafkaError], str] = {
    TopicAuthorizationFailedError: "topic",
    GroupAuthorizationFailedError: "group",
    ClusterAuthorizationFailedError: "cluster",
    TransactionalIdAuthorizationFailed: "transactional id",
}
"""Kind of resource whose ACL is missing."""

closed_connections.install()
record_batches.install()
wire_codec.install()


class ClusterUnavailableError(OperatorError):
    """The cluster does not answer, rejects this client, or is not clipmill's; see the text."""


class NoBrokerError(ClusterUnavailableError):
    """No broker answers; a retry may succeed."""


@asynccontextmanager
async def translate_errors(kafka: KafkaSettings) -> AsyncIterator[None]:
    """Turn the errors of Kafka clients into `ClusterUnavailableError`, with a diagnosis."""
    try:
        yield
    except KafkaConnectionError as error:
        # aiokafka only says "Unable to bootstrap", whatever the reason.
        failure = await find_failure(kafka.bootstrap, client_options(kafka))
        if failure is None or failure.is_unreachable:
            raise NoBrokerError(failure.text if failure else _explain_lost(kafka, error)) from None
        raise ClusterUnavailableError(failure.text) from None
    except (KafkaError, OSError) as error:
        raise ClusterUnavailableError(explain_refusal(error, kafka)) from None


def explain_refusal(error: BaseException, kafka: KafkaSettings) -> str:
    """Return why a reachable cluster rejects the client, and the remedy."""
    kind = AUTHORIZATION_ERRORS.get(type(error))
    if kind is None:
        return f"the cluster at {kafka.bootstrap} rejects the request: {error!r}"
    names = _names(error)
    return (
        f"the cluster at {kafka.bootstrap} does not authorize {describe_login(kafka)} "
        f"for the {kind}"
        + (f" {names}" if names else "")
        + "; `clipmill topics acls` prints the ACLs that are needed"
    )


def describe_login(kafka: KafkaSettings) -> str:
    """Return the login of this process, without secrets."""
    if kafka.security_protocol.startswith("SASL"):
        if kafka.sasl_mechanism == "OAUTHBEARER":
            return f"the login {kafka.oauth_client_id or kafka.token_provider!r} (OAUTHBEARER)"
        return f"the login {kafka.sasl_username!r} ({kafka.sasl_mechanism})"
    if kafka.cert_file is not None:
        return f"the certificate {kafka.cert_file}"
    return "clients without a login"


def _explain_lost(kafka: KafkaSettings, error: KafkaConnectionError) -> str:
    return f"the connection to the cluster at {kafka.bootstrap} was lost: {error}"


def _names(error: BaseException) -> str:
    """Return the topics or groups of an authorization error of aiokafka."""
    found = error.args[0] if error.args else ""
    return ", ".join(sorted(map(str, found))) if isinstance(found, set | list) else str(found)


def client_options(kafka: KafkaSettings, client: str = "") -> dict[str, Any]:
    """Return the keyword arguments of every aiokafka client.

    ``client`` distinguishes the clients of a process in quotas and broker logs.

    Raises:
        ClusterUnavailableError: a certificate or the token provider cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap.split(","),
        "client_id": client_id(kafka, client),
        "security_protocol": kafka.security_protocol,
        "ssl_context": None,
    }
    try:
        options["ssl_context"] = ssl_context(kafka)
        if kafka.security_protocol.startswith("SASL"):
            options |= _login(kafka)
    except (TlsError, TokenProviderError) as error:
        raise ClusterUnavailableError(str(error)) from None
    return options


def consumer_options(kafka: KafkaSettings, client: str) -> dict[str, Any]:
    """Return the keyword arguments of every consumer, which reads committed transactions only."""
    return client_options(kafka, client) | {"isolation_level": "read_committed"}


async def stop_consumer(consumer: Any) -> None:
    """Stop a consumer; cancelled only if the caller is.

    While a broker is down, aiokafka raises the cancellation of its own pending fetch.
    """
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise


def client_id(kafka: KafkaSettings, client: str = "") -> str:
    """Return the id of a client, such as ``clipmill-producer``."""
    return f"{kafka.client_id}-{client}" if client else kafka.client_id


def _login(kafka: KafkaSettings) -> dict[str, Any]:
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_oauth_token_provider": token_provider(kafka),
        }
    return {
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password and kafka.sasl_password.get_secret_value(),
    }
