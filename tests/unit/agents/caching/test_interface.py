from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint

import pytest

from agents.caching.interface import GROUP, BackendSettings, CacheBackend, find_backend
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.agents.caching.backends import Dictionary


@asynccontextmanager
async def open_toy(_settings: BackendSettings) -> AsyncIterator[CacheBackend]:
    yield Dictionary()


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


POINTS = (
    point("toy", f"{__name__}:open_toy"),
    point("redis", "agents.caching.redis_backend:open_redis"),
    point("lost", "no_such_module_anywhere:open_it"),
    point("empty", f"{__name__}:nothing"),
)


def test_nothing_is_shared_by_default() -> None:
    assert find_backend("memory") is None
    assert find_backend("memory", POINTS) is None


def test_a_plug_in_is_found_by_its_name() -> None:
    assert find_backend("toy", POINTS) is open_toy
    assert find_backend("redis", POINTS) is not None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("memcached", "there are: empty, lost, memory, redis, toy"),
        ("lost", "No module named 'no_such_module_anywhere'"),
        ("lost", r"pip install 'clipmill\[redis\]'"),
        ("empty", "has no attribute 'nothing'"),
    ],
)
def test_what_cannot_be_used_is_a_matter_of_settings(name: str, said: str) -> None:
    with pytest.raises(ClipmillError, match=said) as caught:
        find_backend(name, POINTS)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


def test_no_secret_is_shown() -> None:
    assert "s3cret" not in repr(BackendSettings("redis://:s3cret@host"))
