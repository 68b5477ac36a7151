"""Settings of the cluster."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from streams.settings.kinds import HIGHEST_PORT, Count, Group, Seconds


class KafkaSettings(Group):
    """The cluster."""

    bootstrap: str = Field("127.0.0.1:9092", description="Brokers, HOST:PORT[,HOST:PORT…].")
    topic_prefix: str = Field("clipmill.", description="First part of topic and group names.")
    partitions: Count = Field(4, description="Partitions of topics that clipmill creates.")
    replication_factor: Count = Field(1, description="Replicas of topics that clipmill creates.")
    session_timeout_seconds: Seconds = Field(
        10, description="A worker that is silent for this long loses its partitions."
    )
    commit_interval_seconds: Seconds = Field(1, description="Pause between offset commits.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How brokers are spoken to."
    )
    ca_file: Path | None = Field(None, description="PEM file with the brokers' root certificate.")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="How clients log in."
    )
    sasl_username: str | None = Field(None, description="Login name.")
    sasl_password: SecretStr | None = Field(None, description="Login password.")

    @field_validator("bootstrap")
    @classmethod
    def _names_brokers(cls, bootstrap: str) -> str:
        brokers = [broker.strip() for broker in bootstrap.split(",")]
        for broker in brokers:
            host, _, port = broker.rpartition(":")
            if not (host and port.isdecimal() and 0 < int(port) <= HIGHEST_PORT):
                raise ValueError(f"{broker[:100]!r} is not HOST:PORT")
        return ",".join(brokers)

    @model_validator(mode="after")
    def _has_a_login(self) -> Self:
        complete = self.sasl_username is not None and self.sasl_password is not None
        if self.security_protocol.startswith("SASL") and not complete:
            raise ValueError(f"{self.security_protocol} needs sasl_username and sasl_password")
        return self
