"""Platforms: links, pages and media of video sites. Front door of platform plug-ins."""

from agents.accounts.interface import Account
from agents.engine.interface import EngineFailure, Extractor
from agents.network.download import Fetched, MediaFetcher
from agents.network.transfer import FetchLimits
from agents.platforms.base import BasePlatform
from agents.platforms.description import read_info
from agents.platforms.failure_predicates import (
    FailureRow,
    Predicate,
    all_of,
    any_of,
    exception_type,
    http_status,
    message_contains,
)
from agents.platforms.failures import failure_table, to_clipmill_error
from agents.platforms.fields import Fields, decode_raw
from agents.platforms.formats import no_formats_error, read_expiry, read_sources
from agents.platforms.interface import (
    DEFAULT_LIMITS,
    Capabilities,
    OnProgress,
    Platform,
    ShortLink,
    Target,
)
from agents.platforms.registry import Platforms
from agents.platforms.urls import Link, parse_link, shorten

__all__ = [
    "DEFAULT_LIMITS",
    "Account",
    "BasePlatform",
    "Capabilities",
    "EngineFailure",
    "Extractor",
    "FailureRow",
    "FetchLimits",
    "Fetched",
    "Fields",
    "Link",
    "MediaFetcher",
    "OnProgress",
    "Platform",
    "Platforms",
    "Predicate",
    "ShortLink",
    "Target",
    "all_of",
    "any_of",
    "decode_raw",
    "exception_type",
    "failure_table",
    "http_status",
    "message_contains",
    "no_formats_error",
    "parse_link",
    "read_expiry",
    "read_info",
    "read_sources",
    "shorten",
    "to_clipmill_error",
]
