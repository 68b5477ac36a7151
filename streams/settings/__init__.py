"""Settings. Precedence: environment (``CLIPMILL_…``), ``clipmill.toml``, default.

Environment variables of nested settings contain two underscores: ``CLIPMILL_EGRESS__PROXY``. One
module per group of settings.
"""

from streams.settings.auth import AuthSettings
from streams.settings.cache import CacheSettings, LedgerSettings
from streams.settings.console import ConsoleSettings
from streams.settings.download import DownloadSettings
from streams.settings.egress import EgressSettings
from streams.settings.engine import EngineSettings
from streams.settings.heartbeat import HeartbeatSettings
from streams.settings.kafka import KafkaSettings
from streams.settings.kinds import HIGHEST_PORT
from streams.settings.limits import LimitSettings
from streams.settings.loading import (
    SettingsError,
    UnknownSettingError,
    load_settings,
    setting_paths,
    variable_name,
)
from streams.settings.memory import MemorySettings
from streams.settings.model import Settings, config_file
from streams.settings.performance import PerformanceSettings
from streams.settings.platforms import ConfiguredSite
from streams.settings.recovery import BreakerSettings, DeadLetterSettings, RetrySettings
from streams.settings.retention import RetentionLimits, RetentionSettings
from streams.settings.stage import StageSettings
from streams.settings.storage import StorageSettings

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
