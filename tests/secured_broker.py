"""A real broker with a listener for each kind of login, and an authorizer that denies by default.

Its plain listener is the operator's: whoever uses it is a super user.
"""

import asyncio
import json
import random
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from streams.broker.broker import EmbeddedBroker
from streams.broker.config import Additions
from streams.broker.server import RestartPolicy
from streams.broker.state import LOOPBACK, is_free
from streams.cluster.acls import Acl

PASSWORD = "secret of tests"
KEY_PASSWORD = "key secret of tests"
CLIENT_SECRET = "client secret & of tests"
HOST = "localhost"

QUIET: dict[str, Any] = {"log_level": 0}
"""Keeps librdkafka from telling standard error that a broker was stopped."""

LISTENERS = {
    "LOGIN": "SASL_SSL",
    "OPENLOGIN": "SASL_PLAINTEXT",
    "MUTUAL": "SSL",
    "SERVERTLS": "SSL",
    "TOKEN": "SASL_SSL",
}


class Certificates:
    """One authority for brokers and clients, and a second one that the broker does not know."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = trustme.CA()
        self.stranger = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        self.stranger_ca_file = folder / "stranger-ca.pem"
        self.stranger.cert_pem.write_to_path(str(self.stranger_ca_file))
        self.broker_store = folder / "broker-store.pem"
        leaf = self.authority.issue_cert(HOST)
        chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
        self.broker_store.write_bytes(pkcs8(leaf) + chain)

    def client(
        self,
        name: str,
        *,
        authority: trustme.CA | None = None,
        password: str | None = None,
        **more: Any,
    ) -> tuple[Path, Path]:
        """Return certificate and key of a client; its common name is the principal."""
        leaf = (authority or self.authority).issue_cert(f"{name}.example", common_name=name, **more)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
        key.write_bytes(pkcs8(leaf, password))
        return cert, key


def pkcs8(leaf: trustme.LeafCert, password: str | None = None) -> bytes:
    """Return the key of a certificate in the form that Java can read."""
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


class TokenIssuer:
    """A token endpoint, and the keys by which the broker checks its tokens.

    Attributes:
        lifetime_seconds: of the tokens.
        status: of the endpoint's answers; not 200: no token.
        grants: how many tokens were granted.
    """

    ISSUER = "https://issuer.example"
    AUDIENCE = "kafka"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._lock = threading.Lock()
        self.keys_file = folder / "jwks.json"
        self.keys_file.write_text(json.dumps({"keys": [self._public()]}))
        self.lifetime_seconds = 300
        self.status = 200
        self.audience = self.AUDIENCE
        self.grants = 0
        self.forms: list[dict[str, list[str]]] = []
        self.url = ""

    def _public(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "kid": "test",
            "use": "sig",
            "alg": "RS256",
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }

    def token(self, subject: str) -> str:
        """Return a signed token."""
        now = int(time.time())
        claims = {
            "iss": self.ISSUER,
            "aud": self.audience,
            "sub": subject,
            "iat": now,
            "exp": now + self.lifetime_seconds,
            "scope": "kafka",
        }
        head = _text(json.dumps({"alg": "RS256", "kid": "test", "typ": "JWT"}).encode())
        signed = f"{head}.{_text(json.dumps(claims).encode())}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_text(signature)}"

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Answer at `url` while the context lasts."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, body = issuer.answer(self.headers["Authorization"], form)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.url = f"http://{LOOPBACK}:{server.server_port}/token"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, login: str, form: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of the endpoint's answer."""
        client, _, secret = urlsafe_b64decode(login.removeprefix("Basic ")).decode().partition(":")
        self.forms.append(parse_qs(form))
        if self.status != 200:
            return self.status, {"error": "temporarily_unavailable"}
        if parse_qs(f"s={secret}")["s"] != [CLIENT_SECRET]:
            return 401, {"error": "invalid_client", "error_description": "wrong secret"}
        with self._lock:
            self.grants += 1
        return 200, {
            "access_token": self.token(client),
            "token_type": "Bearer",
            "expires_in": self.lifetime_seconds,
        }


def _number(number: int) -> str:
    return _text(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class SecuredBroker:
    """The broker, its logins and its ACLs."""

    broker: EmbeddedBroker
    places: dict[str, str]
    certificates: Certificates
    issuer: TokenIssuer
    log: Path
    admin: AdminClient = field(init=False)

    def __post_init__(self) -> None:
        self.admin = AdminClient({"bootstrap.servers": self.broker.bootstrap, **QUIET})

    def allow(self, principal: str, acls: Iterable[Acl]) -> None:
        """Create ACLs."""
        bindings = [binding for acl in acls for binding in bindings_of(principal, acl)]
        for future in self.admin.create_acls(bindings).values():
            future.result()
        self._wait_until(lambda known: known >= set(bindings))

    def forbid(self, principal: str, acl: Acl) -> None:
        """Take ACLs away."""
        self._delete([_filter_of(each) for each in bindings_of(principal, acl)])

    def forbid_all(self, principal: str) -> None:
        """Take all ACLs of a principal away."""
        which: tuple[Any, ...] = (
            *(ResourceType.ANY, None, ResourcePatternType.ANY),
            *(principal, None, AclOperation.ANY, AclPermissionType.ANY),
        )
        self._delete([AclBindingFilter(*which)])

    def _delete(self, filters: list[AclBindingFilter]) -> None:
        deleted = self.admin.delete_acls(filters).values()
        gone = {each for future in deleted for each in future.result()}
        self._wait_until(lambda known: not known & gone)

    def _wait_until(self, is_true: Callable[[set[AclBinding]], bool]) -> None:
        """Wait for the broker's authorizer, which hears from the controller."""
        which: tuple[Any, ...] = (
            *(ResourceType.ANY, None, ResourcePatternType.ANY),
            *(None, None, AclOperation.ANY, AclPermissionType.ANY),
        )
        deadline = time.monotonic() + 30
        while not is_true(set(self.admin.describe_acls(AclBindingFilter(*which)).result())):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def client_ids(self, group: str) -> list[str]:
        """Return the client ids of the members of a group."""
        found = self.admin.describe_consumer_groups([group])[group].result()
        return [str(member.client_id) for member in found.members]

    def denied(self, principal: str) -> list[str]:
        """Return the operations that the authorizer has denied a principal so far."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if f"Principal = {principal} is Denied" in line]

    def add_user(self, name: str, password: str = PASSWORD) -> None:
        """Add a user of both SCRAM mechanisms."""
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            change = UserScramCredentialUpsertion(
                name, ScramCredentialInfo(mechanism, 4096), password.encode()
            )
            for future in self.admin.alter_user_scram_credentials([change]).values():
                future.result()


def bindings_of(principal: str, acl: Acl) -> list[AclBinding]:
    """Return an ACL of clipmill as librdkafka's, one for each operation."""
    kind = ResourceType[acl.resource.upper().replace("-", "_")]
    place = (kind, acl.name, ResourcePatternType.LITERAL)
    return [
        AclBinding(*place, principal, "*", AclOperation[operation], AclPermissionType.ALLOW)
        for operation in acl.operations
    ]


def _filter_of(each: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        each.restype,
        each.name,
        each.resource_pattern_type,
        each.principal,
        each.host,
        each.operation,
        each.permission_type,
    )


@asynccontextmanager
async def secured_broker(
    folder: Path, *, users: Sequence[str] = ("clipmill",), **properties: str
) -> AsyncIterator[SecuredBroker]:
    """Start the broker; ``users`` can log in with PLAIN and SCRAM by `PASSWORD`."""
    certificates = Certificates(folder / "certificates")
    issuer = TokenIssuer(folder / "issuer")
    places = dict(zip(LISTENERS, free_places(len(LISTENERS)), strict=True))
    additions = Additions(
        listeners=places,
        properties=_properties(certificates, issuer, users)
        | {name.replace("_", "."): value for name, value in properties.items()},
        java_options=(
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.keys_file.as_uri()}",
            # Writes each operation that was denied to kafka.log.
            "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=info",
        ),
    )
    broker = EmbeddedBroker(
        folder / "kafka", additions=additions, restarts=RestartPolicy(min_uptime_seconds=0.1)
    )
    with issuer.serve():
        async with broker:
            supervision = asyncio.create_task(broker.supervise())
            try:
                secured = SecuredBroker(
                    broker, places, certificates, issuer, folder / "kafka" / "kafka.log"
                )
                for user in users:
                    await asyncio.to_thread(secured.add_user, user)
                yield secured
            finally:
                supervision.cancel()
                await asyncio.gather(supervision, return_exceptions=True)


def free_places(count: int) -> list[str]:
    """Return addresses where a server can listen; below the ports that brokers pick themselves."""
    ports = random.sample(range(12_000, 20_000), 200)
    return [f"{HOST}:{port}" for port in ports if is_free(port)][:count]


def _properties(
    certificates: Certificates, issuer: TokenIssuer, users: Sequence[str]
) -> dict[str, str]:
    module = "org.apache.kafka.common.security"
    kinds = ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"]
    kinds += [f"{name}:{protocol}" for name, protocol in LISTENERS.items()]
    plain = " ".join(f'user_{user}="{PASSWORD}"' for user in users)
    made = {
        "listener.security.protocol.map": ",".join(kinds),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
        "ssl.principal.mapping.rules": r"RULE:^.*?CN=([^,]*).*$/$1/,DEFAULT",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.token.oauthbearer.sasl.jaas.config": (
            f"{module}.oauthbearer.OAuthBearerLoginModule required;"
        ),
        "listener.name.token.oauthbearer.sasl.server.callback.handler.class": (
            f"{module}.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        "listener.name.token.sasl.oauthbearer.jwks.endpoint.url": issuer.keys_file.as_uri(),
        "listener.name.token.sasl.oauthbearer.expected.audience": issuer.AUDIENCE,
        "listener.name.token.sasl.oauthbearer.expected.issuer": issuer.ISSUER,
    }
    for name in ("mutual", "servertls", "login", "token"):
        prefix = f"listener.name.{name}.ssl"
        made |= {
            f"{prefix}.keystore.type": "PEM",
            f"{prefix}.keystore.location": str(certificates.broker_store),
            f"{prefix}.truststore.type": "PEM",
            f"{prefix}.truststore.location": str(certificates.ca_file),
        }
    for name in ("login", "openlogin"):
        prefix = f"listener.name.{name}"
        made[f"{prefix}.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
        made[f"{prefix}.plain.sasl.jaas.config"] = (
            f"{module}.plain.PlainLoginModule required {plain};"
        )
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            made[f"{prefix}.{mechanism}.sasl.jaas.config"] = (
                f"{module}.scram.ScramLoginModule required;"
            )
    return {name: value.replace("\\", "\\\\") for name, value in made.items()}
