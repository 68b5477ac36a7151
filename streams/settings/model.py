"""All settings in one frozen object, and the precedence of their sources."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from streams.settings.auth import AuthSettings
from streams.settings.cache import CacheSettings, LedgerSettings
from streams.settings.console import ConsoleSettings, HistorySettings
from streams.settings.egress import EgressSettings
from streams.settings.kafka import KafkaSettings
from streams.settings.platforms import PlatformName, PlatformSettings
from streams.settings.resilience import (
    BreakerSettings,
    DeadLetterSettings,
    LimitSettings,
    RetrySettings,
)
from streams.settings.storage import DownloadSettings, StorageSettings
from streams.settings.worker import (
    EngineSettings,
    HeartbeatSettings,
    MemorySettings,
    PerformanceSettings,
    StageSettings,
)

ENV_PREFIX = "CLIPMILL_"
CONFIG_FILE_VARIABLE = "CLIPMILL_CONFIG"
DEFAULT_CONFIG_FILE = "clipmill.toml"


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    data_dir: Path = Field(Path("data"), description="Files, and the embedded broker's data.")
    http: str = Field(
        "127.0.0.1:8080",
        description="HOST:PORT of health and metrics; the default falls back to a free port.",
    )
    log_format: Literal["console", "json"] = Field("console", description="Format of log lines.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest severity that is logged."
    )
    kafka: KafkaSettings = KafkaSettings()
    egress: EgressSettings = EgressSettings()
    auth: AuthSettings = AuthSettings()
    breaker: BreakerSettings = BreakerSettings()
    deadletters: DeadLetterSettings = DeadLetterSettings()
    engine: EngineSettings = EngineSettings()
    download: DownloadSettings = DownloadSettings()
    cache: CacheSettings = CacheSettings()
    console: ConsoleSettings = ConsoleSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    history: HistorySettings = HistorySettings()
    ledger: LedgerSettings = LedgerSettings()
    limits: LimitSettings = LimitSettings()
    memory: MemorySettings = MemorySettings()
    performance: PerformanceSettings = PerformanceSettings()
    platforms: dict[PlatformName, PlatformSettings] = Field(
        {},
        description="Platforms without code by name, and further page_hosts and media_hosts of "
        "installed ones; see docs/platforms.md.",
    )
    retry: RetrySettings = RetrySettings()
    stage: StageSettings = StageSettings()
    storage: StorageSettings = StorageSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (given by the library)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments (the command line), environment, file, default."""
        file = TomlConfigSettingsSource(settings_cls, config_file())
        return init_settings, env_settings, file


def config_file() -> Path:
    """Return the path of the settings file; the default file need not exist."""
    return Path(os.environ.get(CONFIG_FILE_VARIABLE, DEFAULT_CONFIG_FILE))
