from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint

import pytest

from agents.caching.interface import GROUP, BackendSettings, CacheBackend, find_backend
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.agents.caching.backends import DictBackend


@asynccontextmanager
async def open_toy(_settings: BackendSettings) -> AsyncIterator[CacheBackend]:
    yield DictBackend()


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


ENTRY_POINTS = (
    entry_point("toy", f"{__name__}:open_toy"),
    entry_point("redis", "agents.caching.redis_backend:open_redis"),
    entry_point("lost", "no_such_module_anywhere:open_it"),
    entry_point("empty", f"{__name__}:nothing"),
)


def test_memory_has_no_shared_backend() -> None:
    assert find_backend("memory") is None
    assert find_backend("memory", ENTRY_POINTS) is None


def test_plug_in_is_found_by_its_name() -> None:
    assert find_backend("toy", ENTRY_POINTS) is open_toy
    assert find_backend("redis", ENTRY_POINTS) is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("memcached", "available: empty, lost, memory, redis, toy"),
        ("lost", "No module named 'no_such_module_anywhere'"),
        ("lost", r"pip install 'clipmill\[redis\]'"),
        ("empty", "has no attribute 'nothing'"),
    ],
)
def test_unusable_backend_is_a_config_error(name: str, message: str) -> None:
    with pytest.raises(ClipmillError, match=message) as caught:
        find_backend(name, ENTRY_POINTS)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


def test_repr_hides_secrets() -> None:
    assert "s3cret" not in repr(BackendSettings("redis://:s3cret@host"))
