"""Settings: environment (``CLIPMILL_…``), then ``clipmill.toml``, then the default.

A nested value is named with two underscores: ``CLIPMILL_EGRESS__PROXY``.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from schemas.errors import ErrorCode

ENV_PREFIX = "CLIPMILL_"
CONFIG_FILE_VARIABLE = "CLIPMILL_CONFIG"
DEFAULT_CONFIG_FILE = "clipmill.toml"
HIGHEST_PORT = 65_535

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Wait = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
EgressName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class SettingsError(Exception):
    """A setting is unknown or has a bad value; the text names it."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Group):
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


class EgressSettings(_Group):
    """The way out to the platforms."""

    proxy: str | None = Field(None, description="URL of an HTTP CONNECT proxy.")
    proxies: dict[EgressName, str] = Field(
        {}, description='Several ways out by name instead of one, {"a": "http://…"}.'
    )
    ca_file: Path | None = Field(None, description="PEM file of roots trusted additionally.")

    @field_validator("proxy")
    @classmethod
    def _is_http(cls, proxy: str | None) -> str | None:
        if proxy and not proxy.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return proxy or None

    @field_validator("proxies")
    @classmethod
    def _are_http(cls, proxies: dict[str, str]) -> dict[str, str]:
        for name, url in proxies.items():
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{name} must start with http:// or https://")
        return proxies

    @model_validator(mode="after")
    def _is_one_or_several(self) -> Self:
        if self.proxy and self.proxies:
            raise ValueError("give either proxy or proxies")
        return self


class AuthSettings(_Group):
    """Logging in to platforms."""

    cookie_files: dict[str, Path] = Field(
        {}, description='Netscape cookie files by platform, {"tiktok": "tiktok.txt"}.'
    )


class BreakerSettings(_Group):
    """Circuit breakers: one for each platform, operation and egress."""

    window_calls: Count = Field(100, description="Latest attempts that are looked at.")
    window_seconds: Seconds = Field(60, description="Older attempts are not looked at.")
    minimum_calls: Count = Field(20, description="Fewer attempts open nothing.")
    failure_ratio: Share = Field(0.5, description="Share of failed attempts that opens.")
    slow_ratio: Share = Field(0.9, description="Share of slow attempts that opens.")
    slow_seconds: Seconds = Field(20, description="A page or link that takes longer is slow.")
    suspicious_videos: Count = Field(
        3, description="Different videos with blocks or unknown pages that open it earlier."
    )
    open_seconds: Seconds = Field(30, description="Time before the first trial; doubles.")
    open_seconds_max: Seconds = Field(600, description="Longest time between trials.")
    trials: Count = Field(5, description="Attempts while half-open, over all workers.")
    trial_seconds: Seconds = Field(60, description="A trial not heard of for this long is void.")
    retry_share: Share = Field(0.2, description="Largest share of retries among attempts.")
    retry_floor: Count = Field(10, description="Retries in the window that are always allowed.")


class DeadLetterSettings(_Group):
    """What nobody could handle."""

    limit: Count = Field(100, description="Dead letters of a stage that stop its intake.")
    window_seconds: Seconds = Field(60, description="Within this time.")
    replays: Count = Field(1, description="How often one may be put back without force.")


class EngineSettings(_Group):
    """The yt-dlp worker processes."""

    processes: Count = Field(
        default_factory=lambda: min(os.cpu_count() or 2, 4),
        description="Worker processes of one clipmill process; default: cores, at most 4.",
    )
    threads: Count = Field(8, description="Extractions at a time in each process.")
    request_timeout_seconds: Seconds = Field(15, description="Time for one page.")
    deadline_seconds: Seconds = Field(40, description="Time for one extraction, then it is killed.")
    page_bytes: Bytes = Field(8 * 2**20, description="Largest page that is read.")


class DownloadSettings(_Group):
    """Fetching media."""

    concurrency: Count = Field(16, description="Downloads at a time in one process.")
    connect_timeout_seconds: Seconds = Field(10, description="Time to connect.")
    stall_timeout_seconds: Seconds = Field(20, description="Longest silence in the middle.")
    deadline_seconds: Seconds = Field(3_600, description="Time for one file.")
    file_bytes: Bytes = Field(2_000_000_000, description="Largest file that is fetched.")
    free_bytes: Bytes = Field(
        100 * 2**20, description="With less space than this no download is begun."
    )
    storage_check_seconds: Seconds = Field(
        5, description="Pause between looks at a storage that is full or away."
    )


class CacheSettings(_Group):
    """How long answers are remembered."""

    video_info_seconds: Seconds = Field(1_800, description="Life of what a page said.")
    stale_seconds: Seconds = Field(
        86_400, description="How much longer an answer may serve while the platform is away."
    )
    file_seconds: Seconds = Field(604_800, description="How long a finished file is known.")


class LedgerSettings(_Group):
    """The outcomes of requests."""

    remember_seconds: Seconds = Field(
        86_400, description="How long a decided request is known, to be retried or not repeated."
    )


class RetrySettings(_Group):
    """Trying again."""

    waits_seconds: dict[ErrorCode, tuple[Wait, ...]] = Field(
        {}, description='Waits before each retry by error code, {"network.server": [5, 30]}.'
    )
    total_seconds: Seconds = Field(86_400, description="No retry later than this after the start.")
    jitter: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.2, description="Waits vary by up to this share, so that retries do not march in step."
    )


class StageSettings(_Group):
    """How much a stage does at a time."""

    concurrency: Count = Field(32, description="Events at a time in a stage of one process.")
    window: Count = Field(2_000, description="Unfinished events that a stage may hold.")
    shutdown_grace_seconds: Seconds = Field(5, description="Time to finish work on SIGTERM.")
    stall_seconds: Seconds = Field(
        120, description="A stage that stands still before unread records is restarted."
    )


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    data_dir: Path = Field(Path("data"), description="Files, and the embedded broker's data.")
    http: str = Field("127.0.0.1:8080", description="HOST:PORT of health and metrics.")
    log_format: Literal["console", "json"] = Field("console", description="Form of log lines.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log line that is written."
    )
    kafka: KafkaSettings = KafkaSettings()
    egress: EgressSettings = EgressSettings()
    auth: AuthSettings = AuthSettings()
    breaker: BreakerSettings = BreakerSettings()
    deadletters: DeadLetterSettings = DeadLetterSettings()
    engine: EngineSettings = EngineSettings()
    download: DownloadSettings = DownloadSettings()
    cache: CacheSettings = CacheSettings()
    ledger: LedgerSettings = LedgerSettings()
    retry: RetrySettings = RetrySettings()
    stage: StageSettings = StageSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (given by the library)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before file before default; arguments (of the command line) before all."""
        file = TomlConfigSettingsSource(settings_cls, config_file())
        return init_settings, env_settings, file


def config_file() -> Path:
    """Return the path of the settings file; the default one need not exist."""
    return Path(os.environ.get(CONFIG_FILE_VARIABLE, DEFAULT_CONFIG_FILE))


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in force; ``overrides`` are what the command line said.

    Raises:
        SettingsError: an unknown setting or a bad value; the text names it.
    """
    _refuse_unknown_variables()
    _refuse_missing_file()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(map(_explain, error.errors()))) from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{config_file()} or the environment cannot be read: {error}") from None


def _explain(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{name} is not a setting; `clipmill config` lists them all"
    return f"{name} has a bad value: {error['msg']}"


def _refuse_unknown_variables() -> None:
    known = {variable_name(path) for path, _ in setting_paths()} | {CONFIG_FILE_VARIABLE}
    groups = {name.rpartition("__")[0] for name in known} - {""}
    for name in sorted(os.environ):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known | groups:
            raise SettingsError(f"{name} is not a setting; `clipmill config` lists them all")


def _refuse_missing_file() -> None:
    file = config_file()
    if (CONFIG_FILE_VARIABLE in os.environ or file.exists()) and not file.is_file():
        raise SettingsError(f"the settings are to be read from {file}, which is no file")


def setting_paths(
    model: type[BaseModel] = Settings, above: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], str]]:
    """Return (path, description) of every setting, in the order of the file."""
    found: list[tuple[tuple[str, ...], str]] = []
    for name, field in model.model_fields.items():
        path = (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Group):
            found += setting_paths(field.annotation, path)
        else:
            found.append((path, field.description or ""))
    return found


def variable_name(path: tuple[str, ...]) -> str:
    """Return the environment variable of a setting."""
    return ENV_PREFIX + "__".join(path).upper()
