"""Settings. Precedence: environment (``CLIPMILL_…``), ``clipmill.toml``, default.

Environment variables of nested settings contain two underscores: ``CLIPMILL_EGRESS__PROXY``. The
groups of one subject are in one module.
"""

from streams.settings.auth import AuthSettings
from streams.settings.cache import CacheSettings, LedgerSettings
from streams.settings.console import ConsoleSettings
from streams.settings.egress import EgressSettings
from streams.settings.kafka import KafkaSettings
from streams.settings.kinds import HIGHEST_PORT
from streams.settings.loading import (
    SettingsError,
    UnknownSettingError,
    load_settings,
    setting_paths,
    variable_name,
)
from streams.settings.model import Settings, config_file
from streams.settings.platforms import ConfiguredSite
from streams.settings.resilience import (
    BreakerSettings,
    DeadLetterSettings,
    LimitSettings,
    RetrySettings,
)
from streams.settings.storage import (
    DownloadSettings,
    RetentionLimits,
    RetentionSettings,
    StorageSettings,
)
from streams.settings.worker import (
    EngineSettings,
    HeartbeatSettings,
    MemorySettings,
    PerformanceSettings,
    StageSettings,
)

__all__ = [
    "HIGHEST_PORT",
    "AuthSettings",
    "BreakerSettings",
    "CacheSettings",
    "ConfiguredSite",
    "ConsoleSettings",
    "DeadLetterSettings",
    "DownloadSettings",
    "EgressSettings",
    "EngineSettings",
    "HeartbeatSettings",
    "KafkaSettings",
    "LedgerSettings",
    "LimitSettings",
    "MemorySettings",
    "PerformanceSettings",
    "RetentionLimits",
    "RetentionSettings",
    "RetrySettings",
    "Settings",
    "SettingsError",
    "StageSettings",
    "StorageSettings",
    "UnknownSettingError",
    "config_file",
    "load_settings",
    "setting_paths",
    "variable_name",
]
