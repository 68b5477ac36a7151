"""Settings of the Kafka cluster and of the connections to it."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from streams.settings.kinds import HIGHEST_PORT, Count, Group, Seconds, check_url
from streams.topics import TOPICS

TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

CLIENT_CERTIFICATE = ("cert_file", "key_file", "key_password")
PASSWORD_LOGIN = ("sasl_username", "sasl_password")
TOKEN_LOGIN = ("oauth_token_url", "oauth_client_id", "oauth_client_secret")


class KafkaSettings(Group):
    """The Kafka cluster and the connections to it."""

    bootstrap: str = Field("127.0.0.1:9092", description="Brokers, HOST:PORT[,HOST:PORT…].")
    topic_prefix: str = Field("clipmill.", description="Prefix of topic and group names.")
    partitions: Count = Field(4, description="Partitions of topics that clipmill creates.")
    replication_factor: Count = Field(1, description="Replicas of topics that clipmill creates.")
    reply_topics: tuple[TopicName, ...] = Field(
        (), description="Topics that requests may name in reply_to, by their full names."
    )
    session_timeout_seconds: Seconds = Field(
        10,
        description="Session timeout: a worker without a heartbeat for this long loses its "
        "partitions. Brokers reject less than their group.min.session.timeout.ms, 6 s by default.",
    )
    start_timeout_seconds: Seconds = Field(
        60,
        description="Time for which a starting worker waits for an unreachable broker.",
    )
    group_instance_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="Name of this worker as a static member of its consumer groups, unique to "
        "each worker; by default made of the host's name and a lease in the data directory.",
    )
    commit_interval_seconds: Seconds = Field(1, description="Interval between offset commits.")
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "none",
        description="Codec of the record batches that clipmill writes; clients must support it to "
        "read results. lz4 takes two fifths of the bytes, under load a seventh, and no more CPU.",
    )
    client_id: str = Field(
        "clipmill",
        min_length=1,
        description="Prefix of client ids, which appear in quotas and broker logs.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Protocol of the connections to brokers."
    )
    ca_file: Path | None = Field(None, description="PEM file with the brokers' root certificate.")
    check_hostname: bool = Field(
        default=True, description="The brokers' certificates must name the host connected to."
    )
    cert_file: Path | None = Field(
        None, description="PEM file with the client certificate and its chain, for mutual TLS."
    )
    key_file: Path | None = Field(
        None, description="PEM file with the private key of cert_file, if it is not in cert_file."
    )
    key_password: SecretStr | None = Field(None, description="Password of the private key.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN", description="SASL mechanism for authentication."
    )
    sasl_username: str | None = Field(None, description="Login name.")
    sasl_password: SecretStr | None = Field(None, description="Login password.")
    oauth_token_url: str | None = Field(
        None, description="Token endpoint that grants tokens for client credentials (OAUTHBEARER)."
    )
    oauth_client_id: str | None = Field(None, description="Client id at the token endpoint.")
    oauth_client_secret: SecretStr | None = Field(
        None, description="Client secret at the token endpoint."
    )
    oauth_scope: str | None = Field(None, description="Scope requested with a token.")
    oauth_audience: str | None = Field(None, description="Audience requested with a token.")
    oauth_ca_file: Path | None = Field(
        None, description="PEM file with the token endpoint's root certificate."
    )
    oauth_extensions: dict[str, str] = Field(
        {}, description='SASL extensions sent with a token, {"logicalCluster": "lkc-1"}.'
    )
    token_provider: str | None = Field(
        None, description="Plug-in that supplies the tokens instead of oauth_token_url."
    )
    token_provider_options: dict[str, SecretStr] = Field(
        {}, description="Settings of the token provider plug-in, by its own names."
    )

    @field_validator("bootstrap")
    @classmethod
    def _check_bootstrap(cls, bootstrap: str) -> str:
        brokers = [broker.strip() for broker in bootstrap.split(",")]
        for broker in brokers:
            host, _, port = broker.rpartition(":")
            if not (host and port.isdecimal() and 0 < int(port) <= HIGHEST_PORT):
                # What stands before the last @ may be a login.
                shown = broker.rpartition("@")[2][:100]
                raise ValueError(f"{shown!r} is not HOST:PORT")
        return ",".join(brokers)

    @field_validator("oauth_token_url")
    @classmethod
    def _require_https(cls, url: str | None) -> str | None:
        if url is None:
            return None
        check_url(url)
        parts = urlsplit(url)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
        ):
            raise ValueError("only https is allowed, http on loopback alone: it carries the secret")
        return url

    @model_validator(mode="after")
    def _check_reply_topics(self) -> Self:
        own = {topic.kafka_name(self.topic_prefix) for topic in TOPICS}
        for name in self.reply_topics:
            if name in own or name.endswith("-changelog"):
                raise ValueError(f"reply_topics: {name} is a topic of clipmill's own")
        if len(set(self.reply_topics)) < len(self.reply_topics):
            raise ValueError("reply_topics names a topic twice")
        return self

    @model_validator(mode="after")
    def _require_login(self) -> Self:
        if not self.security_protocol.startswith("SASL"):
            return self
        if self.sasl_mechanism != "OAUTHBEARER":
            self._require(f"{self.security_protocol} with {self.sasl_mechanism}", *PASSWORD_LOGIN)
        elif self.token_provider is None:
            self._require("OAUTHBEARER without token_provider", *TOKEN_LOGIN)
        elif self.oauth_token_url is not None:
            raise ValueError("token_provider and oauth_token_url exclude each other: set one")
        return self

    @model_validator(mode="after")
    def _require_client_certificate(self) -> Self:
        given = [name for name in CLIENT_CERTIFICATE if getattr(self, name) is not None]
        if given and not self.security_protocol.endswith("SSL"):
            raise ValueError(f"{given[0]} needs security_protocol SSL or SASL_SSL")
        if given and self.cert_file is None:
            raise ValueError(f"{given[0]} needs cert_file")
        return self

    def _require(self, what: str, *names: str) -> None:
        if missing := [name for name in names if getattr(self, name) is None]:
            raise ValueError(f"{what} needs {' and '.join(missing)}")
