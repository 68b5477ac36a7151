"""Diagnoses why the cluster cannot be reached.

aiokafka logs the reason and raises "Unable to bootstrap". So a probe connects step by step: TCP,
TLS, API versions, login, metadata; then to the addresses that the brokers advertise. Where TLS or
the login fails, it detects the protocol of the listener.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from streams.cluster.oauth import TokenError

ANSWER_SECONDS = 5.0
"""Timeout of each step; a healthy broker responds within milliseconds."""

BROKERS_MAX = 5
"""Advertised addresses that are probed."""

HANDSHAKE_SECONDS = 2.0
"""Timeout for detecting the protocol of a listener."""

HOSTNAME_MISMATCH = frozenset({62, 64})
"""OpenSSL's verify codes: the certificate is for another host name, or another address."""

ConnectionOptions = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ConnectionFailure:
    """Why a connection fails.

    Attributes:
        text: the reason and the remedy.
        is_unreachable: no answer, so a retry may succeed; other failures persist until the
            configuration changes.
    """

    text: str
    is_unreachable: bool = False


async def find_failure(bootstrap: str, options: ConnectionOptions) -> ConnectionFailure | None:
    """Return why the cluster cannot be used, None if it can.

    Args:
        bootstrap: HOST:PORT, separated by commas.
        options: options of an aiokafka client.
    """
    failures: list[ConnectionFailure] = []
    for server in bootstrap.split(","):
        host, _, port = server.rpartition(":")
        probe = _Probe(host, int(port), options)
        failure, advertised = await probe.run()
        if failure is None:
            return await _find_advertised(server, advertised, options)
        failures.append(failure)
    return ConnectionFailure(
        "\n".join(dict.fromkeys(each.text for each in failures)),
        is_unreachable=all(each.is_unreachable for each in failures),
    )


async def _find_advertised(
    bootstrap: str, advertised: list[tuple[str, int]], options: ConnectionOptions
) -> ConnectionFailure | None:
    for host, port in advertised[:BROKERS_MAX]:
        failure, _ = await _Probe(host, port, options).run()
        if failure is not None:
            return replace(
                failure,
                text=f"{bootstrap} answers, but {host}:{port} is the address of a broker in its "
                f"advertised.listeners: {failure.text}",
            )
    return None


class _Probe:
    """One connection attempt to one address."""

    def __init__(self, host: str, port: int, options: ConnectionOptions) -> None:
        self._host = host
        self._port = port
        self._options = {k: v for k, v in options.items() if k != "bootstrap_servers"}
        self._protocol = str(options["security_protocol"])
        self._address = f"{host}:{port}"

    async def run(self) -> tuple[ConnectionFailure | None, list[tuple[str, int]]]:
        """Return the failure, None for success, and the addresses that the brokers advertise."""
        connection = AIOKafkaConnection(
            self._host,
            self._port,
            request_timeout_ms=int(ANSWER_SECONDS * 1000),
            **self._options,
        )
        try:
            await connection.connect()
            metadata: Any = await connection.send(MetadataRequest([]))
        except (OSError, KafkaError, TimeoutError, ValueError) as error:
            return await self._explain(error), []
        finally:
            connection.close()
        return None, [(broker[1], broker[2]) for broker in metadata.brokers]

    async def _explain(self, error: BaseException) -> ConnectionFailure:
        causes = _cause_chain(error)
        for cause in causes:
            if text := self._explain_known(cause):
                return ConnectionFailure(text)
            if text := self._explain_unreachable(cause):
                return ConnectionFailure(text, is_unreachable=True)
            if isinstance(cause, UnsupportedSaslMechanismError):
                return ConnectionFailure(await self._wrong_mechanism())
        return ConnectionFailure(await self._wrong_protocol() or await self._explain_closed(causes))

    def _explain_known(self, error: BaseException) -> str | None:
        match error:
            case TokenError():
                return f"no token for {self._address}: {error.args[0]}"
            case SaslAuthenticationFailed():
                return self._login_refused(error)
            case ssl.SSLCertVerificationError():
                return self._untrusted(error)
            case ssl.SSLError() if "ALERT" in (error.reason or ""):
                return self._certificate_refused(error)
            case IllegalSaslStateError():
                return (
                    f"{self._address} requires no login: set kafka.security_protocol to "
                    f"{'SSL' if self._protocol.endswith('SSL') else 'PLAINTEXT'}, "
                    "or use the port of the listener with SASL"
                )
        return None

    def _explain_unreachable(self, error: BaseException) -> str | None:
        match error:
            case ConnectionRefusedError():
                why = "the connection was refused"
            case socket.gaierror():
                why = f"the name cannot be resolved ({error.strerror})"
            case TimeoutError():
                why = f"no response within {ANSWER_SECONDS:g} s"
            case _:
                return None
        return (
            f"no broker answers at {self._address}: {why}.\n"
            "Start one with `clipmill up`, or name another one with --bootstrap HOST:PORT."
        )

    def _login_refused(self, error: SaslAuthenticationFailed) -> str:
        mechanism = self._options["sasl_mechanism"]
        detail = str(error.args[0]) if error.args else ""
        if mechanism == "OAUTHBEARER":
            return (
                f"{self._address} rejects the token (OAUTHBEARER): {detail}; check the token's "
                "issuer, audience, scope and expiry against the listener's sasl.oauthbearer.* "
                "settings"
            )
        return (
            f"{self._address} rejects the login of {self._options['sasl_plain_username']!r} "
            f"({mechanism}): {detail}; check kafka.sasl_username, kafka.sasl_password and whether "
            f"the cluster keeps {mechanism} credentials of this user"
        )

    async def _wrong_mechanism(self) -> str:
        mechanism = self._options["sasl_mechanism"]
        enabled = await self._enabled_mechanisms()
        return (
            f"{self._address} does not offer kafka.sasl_mechanism {mechanism}"
            + (f", but {', '.join(enabled)}" if enabled else "")
            + ": set kafka.sasl_mechanism to one that the listener has enabled"
        )

    async def _enabled_mechanisms(self) -> tuple[str, ...]:
        """Return the SASL mechanisms of the listener; none where it needs no login."""
        uses_tls = self._protocol.endswith("SSL")
        connection = AIOKafkaConnection(
            self._host,
            self._port,
            request_timeout_ms=int(ANSWER_SECONDS * 1000),
            security_protocol="SSL" if uses_tls else "PLAINTEXT",
            ssl_context=self._options["ssl_context"],
        )
        try:
            await connection.connect()
            answer: Any = await connection.send(SaslHandShakeRequest("PLAIN"))
        except (OSError, KafkaError, TimeoutError):
            return ()
        finally:
            connection.close()
        return tuple(answer.enabled_mechanisms)

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> str:
        detail = error.verify_message.rstrip(".")
        if error.verify_code in HOSTNAME_MISMATCH:
            return (
                f"the certificate of {self._address} is for another host ({detail}): name the "
                "broker in kafka.bootstrap as its certificate does, or set kafka.check_hostname to "
                "false"
            )
        if "expired" in detail or "not yet valid" in detail:
            return (
                f"the certificate of {self._address} is not valid now ({detail}): "
                "it must be renewed"
            )
        return (
            f"the certificate of {self._address} is not trusted ({detail}): kafka.ca_file must "
            "name the root certificate that signed it"
        )

    def _certificate_refused(self, error: ssl.SSLError) -> str:
        detail = (error.reason or "").partition("ALERT_")[2].replace("_", " ").lower()
        context = self._options["ssl_context"]
        if not getattr(context, "has_certificate", False):
            return (
                f"{self._address} requires a client certificate ({detail}): set kafka.cert_file "
                "and kafka.key_file"
            )
        return (
            f"{self._address} rejects the client certificate kafka.cert_file ({detail}): it must "
            "be valid now and signed by a root that the listener's truststore holds"
        )

    async def _wrong_protocol(self) -> str | None:
        """Return a text if the listener speaks another security protocol, else None."""
        wants_tls = self._protocol.endswith("SSL")
        if await _speaks_tls(self._host, self._port) == wants_tls:
            return None
        if wants_tls and not await _speaks_plain(self._host, self._port):
            return None
        has, other = ("TLS", "SSL") if not wants_tls else ("no TLS", "PLAINTEXT")
        protocol = f"SASL_{other}"
        if not self._protocol.startswith("SASL"):
            protocol = f"{other}, or {protocol} where a login is required"
        return (
            f"{self._address} speaks {has}, but kafka.security_protocol is {self._protocol}: set "
            f"it to {protocol}; or use the port of another listener"
        )

    async def _explain_closed(self, causes: list[BaseException]) -> str:
        if not self._protocol.startswith("SASL") and (offers := await self._enabled_mechanisms()):
            return (
                f"{self._address} requires a login: set kafka.security_protocol to "
                f"SASL_{self._protocol} and kafka.sasl_mechanism to one of {', '.join(offers)}"
            )
        cause = causes[-1]
        detail = "without an answer" if isinstance(cause, EOFError) else f"({cause!r})"
        return f"{self._address} closes the connection {detail}; the broker's log says why"


def _cause_chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__ or cause.__context__
    return found


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # No data is sent over this connection: it only detects whether the listener speaks TLS.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _speaks_plain(host: str, port: int) -> bool:
    connection = AIOKafkaConnection(host, port, request_timeout_ms=int(HANDSHAKE_SECONDS * 1000))
    try:
        await connection.connect()
    except (OSError, KafkaError, TimeoutError):
        return False
    finally:
        connection.close()
    return True
