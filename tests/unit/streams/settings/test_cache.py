from typing import Any

import pytest
from pydantic import ValidationError

from streams.settings import CacheSettings

VALID: dict[str, dict[str, Any]] = {
    "default": {},
    "memory by name": {"backend": "memory"},
    "redis": {"backend": "redis", "redis_url": "redis://:s3cret@host:6379/0"},
    "encoded password": {
        "backend": "redis",
        "redis_url": "redis://u:s3cret%2F%3F%23%40@host:1/0?socket_keepalive=1",
    },
    "redis over TLS": {"backend": "redis", "redis_url": "rediss://host"},
    "redis over a socket": {"backend": "redis", "redis_url": "unix:///run/redis.sock"},
    "plug-in": {"backend": "memcached"},
    "negative cache off": {"negative_seconds": 0},
}

INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "redis without URL": ({"backend": "redis"}, "needs redis_url"),
    "redis URL with another scheme": (
        {"backend": "redis", "redis_url": "http://:s3cret@host"},
        "needs redis_url, redis://",
    ),
    "password that ends the host": (
        {"backend": "redis", "redis_url": "redis://:s3cret/x@host"},
        "is not a URL; encode / . # @ in its password",
    ),
    "password that ends the port": (
        {"backend": "redis", "redis_url": "redis://user:12/s3cret@host"},
        "is not a URL",
    ),
    "password that is a fragment": (
        {"backend": "redis", "redis_url": "redis://u:1#s3cret@host"},
        "is not a URL",
    ),
    "password that is a query": (
        {"backend": "redis", "redis_url": "redis://u:1?s3cret@host"},
        "is not a URL",
    ),
    "password that is an address": (
        {"backend": "redis", "redis_url": "redis://[s3cret@host/0"},
        "is not a URL",
    ),
    "plug-in with invalid URL": (
        {"backend": "memcached", "redis_url": "x://:s3cret@h:p"},
        "is not a URL",
    ),
    "invalid backend name": ({"backend": "../x"}, "backend"),
    "zero TTL": ({"video_info_seconds": 0}, "video_info_seconds"),
    "negative TTL": ({"negative_seconds": -1}, "negative_seconds"),
    "zero table size": ({"table_bytes": 0}, "table_bytes"),
    "zero timeout": ({"backend_timeout_seconds": 0}, "backend_timeout_seconds"),
    "unknown setting": ({"redis": "redis://host"}, "redis"),
}


@pytest.mark.parametrize("name", VALID)
def test_valid_cache_settings_do_not_show_the_secret(name: str) -> None:
    settings = CacheSettings(**VALID[name])
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("name", INVALID)
def test_invalid_cache_settings_are_rejected_with_the_reason(name: str) -> None:
    fields, reason = INVALID[name]
    with pytest.raises(ValidationError, match=reason):
        CacheSettings(**fields)


def test_default_table_size_holds_100_000_rows() -> None:
    # docs/caching.md: 2.4 KB a row.
    assert CacheSettings().table_bytes > 100_000 * 2_500
