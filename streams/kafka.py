"""Connections to the cluster: one place for bootstrap, TLS and login."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faust
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.helpers import create_ssl_context

from streams.settings import KafkaSettings


class ClusterAwayError(Exception):
    """No broker answers, or it is not clipmill's; the text says where it was looked for."""


@contextmanager
def explained(kafka: KafkaSettings) -> Iterator[None]:
    """Turn what a client raises when it cannot work with the cluster into `ClusterAwayError`."""
    try:
        yield
    except KafkaConnectionError as error:
        raise ClusterAwayError(
            f"no broker answers at {kafka.bootstrap}: {error}\n"
            "Start one with `clipmill up`, or name yours with --bootstrap HOST:PORT."
        ) from None
    except (KafkaError, OSError) as error:
        raise ClusterAwayError(f"the cluster at {kafka.bootstrap} refuses: {error!r}") from None


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client gets."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap.split(","),
        "security_protocol": kafka.security_protocol,
        "ssl_context": _ssl_context(kafka),
    }
    if kafka.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": _password(kafka),
        }
    return options


def faust_broker(kafka: KafkaSettings) -> str:
    """Return the brokers as Faust wants them."""
    return ";".join(f"aiokafka://{server}" for server in kafka.bootstrap.split(","))


def faust_credentials(kafka: KafkaSettings) -> Any:
    """Return Faust's form of the login, None for plain connections."""
    context = _ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            mechanism=kafka.sasl_mechanism,
            username=kafka.sasl_username,
            password=_password(kafka),
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    if not kafka.security_protocol.endswith("SSL"):
        return None
    cafile = str(kafka.ca_file) if kafka.ca_file else None
    try:
        context: ssl.SSLContext = create_ssl_context(cafile=cafile)
    except OSError as error:
        raise ClusterAwayError(f"kafka.ca_file {cafile} cannot be used: {error}") from None
    return context


def _password(kafka: KafkaSettings) -> str | None:
    return kafka.sasl_password.get_secret_value() if kafka.sasl_password else None
