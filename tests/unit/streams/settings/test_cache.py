from typing import Any

import pytest
from pydantic import ValidationError

from streams.settings import CacheSettings

GOOD: dict[str, dict[str, Any]] = {
    "nothing shared": {},
    "by name": {"backend": "memory"},
    "redis": {"backend": "redis", "redis_url": "redis://:s3cret@host:6379/0"},
    "a password that is encoded": {
        "backend": "redis",
        "redis_url": "redis://u:s3cret%2F%3F%23%40@host:1/0?socket_keepalive=1",
    },
    "redis over TLS": {"backend": "redis", "redis_url": "rediss://host"},
    "redis by a socket": {"backend": "redis", "redis_url": "unix:///run/redis.sock"},
    "a plug-in": {"backend": "memcached"},
    "no failures remembered": {"negative_seconds": 0},
}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "redis without a place": ({"backend": "redis"}, "needs redis_url"),
    "redis by another scheme": (
        {"backend": "redis", "redis_url": "http://:s3cret@host"},
        "needs redis_url, redis://",
    ),
    "a password that ends the host": (
        {"backend": "redis", "redis_url": "redis://:s3cret/x@host"},
        "is no URL; encode / . # @ in its password",
    ),
    "a password that ends the port": (
        {"backend": "redis", "redis_url": "redis://user:12/s3cret@host"},
        "is no URL",
    ),
    "a password that is a fragment": (
        {"backend": "redis", "redis_url": "redis://u:1#s3cret@host"},
        "is no URL",
    ),
    "a password that is a query": (
        {"backend": "redis", "redis_url": "redis://u:1?s3cret@host"},
        "is no URL",
    ),
    "a password that is an address": (
        {"backend": "redis", "redis_url": "redis://[s3cret@host/0"},
        "is no URL",
    ),
    "no URL of a plug-in": ({"backend": "memcached", "redis_url": "x://:s3cret@h:p"}, "is no URL"),
    "a strange name": ({"backend": "../x"}, "backend"),
    "no life": ({"video_info_seconds": 0}, "video_info_seconds"),
    "a negative life": ({"negative_seconds": -1}, "negative_seconds"),
    "no room": ({"table_bytes": 0}, "table_bytes"),
    "no time": ({"backend_timeout_seconds": 0}, "backend_timeout_seconds"),
    "an unknown name": ({"redis": "redis://host"}, "redis"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_set(name: str) -> None:
    settings = CacheSettings(**GOOD[name])
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_set_is_named_and_no_secret_is_shown(name: str) -> None:
    fields, said = BAD[name]
    with pytest.raises(ValidationError, match=said):
        CacheSettings(**fields)


def test_the_table_has_room_for_what_it_says() -> None:
    # docs/caching.md: 2.4 KB a row.
    assert CacheSettings().table_bytes > 100_000 * 2_500
