import os
from pathlib import Path

import pytest

from streams.broker.aot_cache import aot_cache_path, creating_options, reading_options


@pytest.fixture
def jars(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "a.jar", tmp_path / "b.jar"]
    for jar in made:
        jar.write_bytes(b"classes")
    return made


def test_same_jars_share_one_cache(tmp_path: Path, jars: list[Path]) -> None:
    path = aot_cache_path(tmp_path, jars)
    assert path == aot_cache_path(tmp_path, jars)
    assert (path.parent, path.suffix) == (tmp_path, ".aot")


def test_jars_that_invalidate_the_cache_have_another_one(tmp_path: Path, jars: list[Path]) -> None:
    seen = {aot_cache_path(tmp_path, jars), aot_cache_path(tmp_path, jars[::-1])}
    os.utime(jars[0], ns=(1, 1))
    seen.add(aot_cache_path(tmp_path, jars))
    jars[0].write_bytes(b"other classes")
    os.utime(jars[0], ns=(1, 1))
    seen.add(aot_cache_path(tmp_path, jars))
    assert len(seen) == 4


def test_java_options_name_the_cache_only_if_it_exists(tmp_path: Path) -> None:
    cache = tmp_path / "kafka.aot"
    assert reading_options(cache) == []
    cache.touch()
    assert f"-XX:AOTCache={cache}" in reading_options(cache)
    assert f"-XX:AOTCacheOutput={cache}" in creating_options(cache)
