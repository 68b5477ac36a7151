"""A pipeline with a secured broker, and its logins for clipmill and for librdkafka clients."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer

from streams.cluster.topic_admin import apply_topics
from streams.settings import KafkaSettings
from streams.stage import load_stages, topics_of
from streams.topics import REQUESTS, RESULTS
from tests.pipeline_process import PipelineProcess
from tests.secured_broker import (
    CLIENT_SECRET,
    KEY_PASSWORD,
    PASSWORD,
    QUIET,
    SecuredBroker,
    secured_broker,
)


@dataclass(frozen=True)
class Login:
    """Credentials of one principal for one mechanism.

    Attributes:
        name: of the principal, without ``User:``.
        settings: clipmill's settings of the group `kafka`.
        librdkafka: the settings of a librdkafka client.
    """

    name: str
    settings: dict[str, str]
    librdkafka: dict[str, Any]

    @property
    def variables(self) -> dict[str, str]:
        """The settings as environment variables."""
        return {f"CLIPMILL_KAFKA__{key.upper()}": value for key, value in self.settings.items()}


class SecuredPipeline(PipelineProcess):
    """A pipeline on a broker with the listeners of `tests.secured_broker`.

    The clients of the test itself use the plain listener, as super users.
    """

    secured: SecuredBroker

    def __init__(self, directory: Path, *, users: tuple[str, ...], **properties: str) -> None:
        super().__init__(directory)
        self._users = users
        self._properties = properties

    async def _start_broker(self) -> None:
        self.secured = await self._stack.enter_async_context(
            secured_broker(self.directory, users=self._users, **self._properties)
        )
        self.broker = self.secured.broker
        self.bootstrap = self.broker.bootstrap
        self.kafka = KafkaSettings(bootstrap=self.bootstrap)
        await apply_topics(self.kafka, topics_of(load_stages()))

    def login(self, kind: str, name: str = "clipmill") -> Login:
        """Return a login by its kind: a SASL mechanism, ``OPEN`` (without TLS) or ``MUTUAL``."""
        makers: dict[str, Callable[[str], Login]] = {
            "MUTUAL": self._mutual,
            "OAUTHBEARER": self._token,
            "OPEN": lambda each: self._password(each, "SCRAM-SHA-512", "OPENLOGIN"),
        }
        if kind in makers:
            return makers[kind](name)
        return self._password(name, kind, "LOGIN")

    def _password(self, name: str, mechanism: str, listener: str) -> Login:
        protocol = "SASL_PLAINTEXT" if listener == "OPENLOGIN" else "SASL_SSL"
        return self._login(
            name,
            listener,
            protocol,
            {"SASL_MECHANISM": mechanism, "SASL_USERNAME": name, "SASL_PASSWORD": PASSWORD},
            {"sasl.mechanism": mechanism, "sasl.username": name, "sasl.password": PASSWORD},
        )

    def _mutual(self, name: str) -> Login:
        cert, key = self.secured.certificates.client(name, password=KEY_PASSWORD)
        return self._login(
            name,
            "MUTUAL",
            "SSL",
            {"CERT_FILE": str(cert), "KEY_FILE": str(key), "KEY_PASSWORD": KEY_PASSWORD},
            {
                "ssl.certificate.location": str(cert),
                "ssl.key.location": str(key),
                "ssl.key.password": KEY_PASSWORD,
            },
        )

    def _token(self, name: str) -> Login:
        issuer = self.secured.issuer
        return self._login(
            name,
            "TOKEN",
            "SASL_SSL",
            {
                "SASL_MECHANISM": "OAUTHBEARER",
                "OAUTH_TOKEN_URL": issuer.url,
                "OAUTH_CLIENT_ID": name,
                "OAUTH_CLIENT_SECRET": CLIENT_SECRET,
                "OAUTH_SCOPE": "kafka",
            },
            {
                "sasl.mechanism": "OAUTHBEARER",
                "oauth_cb": lambda _: (issuer.token(name), time.time() + 300),
            },
        )

    def _login(
        self,
        name: str,
        listener: str,
        protocol: str,
        settings: dict[str, str],
        librdkafka: dict[str, Any],
    ) -> Login:
        address, ca_file = self.secured.places[listener], str(self.secured.certificates.ca_file)
        given = {"BOOTSTRAP": address, "SECURITY_PROTOCOL": protocol, **settings}
        options = {
            "bootstrap.servers": address,
            "security.protocol": protocol,
            **QUIET,
            **librdkafka,
        }
        if protocol.endswith("SSL"):
            given["CA_FILE"] = ca_file
            options["ssl.ca.location"] = ca_file
        return Login(name, {key.lower(): value for key, value in given.items()}, options)


class ForeignClient:
    """A librdkafka client: publishes requests and waits for their results."""

    def __init__(self, login: Login, group: str = "foreign") -> None:
        self._producer = Producer(login.librdkafka)
        self._consumer = Consumer(
            login.librdkafka | {"group.id": group, "auto.offset.reset": "earliest"}
        )
        self._consumer.subscribe([RESULTS.kafka_name()])
        self._seen: dict[str, dict[str, Any]] = {}

    async def request(self, *requests: dict[str, Any], seconds: float = 60) -> list[dict[str, Any]]:
        """Publish requests, each with an id, and return their results."""
        return await asyncio.to_thread(self._request, requests, seconds)

    def _request(
        self, requests: tuple[dict[str, Any], ...], seconds: float
    ) -> list[dict[str, Any]]:
        errors: list[object] = []
        for request in requests:
            self._producer.produce(
                REQUESTS.kafka_name(),
                json.dumps(request).encode(),
                on_delivery=lambda error, _: errors.append(error),
            )
        assert self._producer.flush(30) == 0
        assert errors == [None] * len(requests)
        deadline = time.monotonic() + seconds
        wanted = [str(request["id"]) for request in requests]
        while missing := [each for each in wanted if each not in self._seen]:
            assert time.monotonic() < deadline, f"no result of {missing}"
            record = self._consumer.poll(0.2)
            if record is None:
                continue
            assert record.error() is None, record.error()
            result = json.loads(record.value() or b"{}")
            self._seen[result["request_id"]] = result
        return [self._seen[each] for each in wanted]

    def close(self) -> None:
        self._consumer.close()
