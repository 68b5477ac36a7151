from typing import Any

import pytest

from agents.caching.row_codec import MEANING_BYTES
from agents.pipeline.stage_caches import config_fingerprint, shared_prefix
from tests.unit.agents.builders import make_settings

PLAIN = make_settings()

OTHER: dict[str, dict[str, Any]] = {
    "a proxy": {"egress": {"proxy": "http://proxy:3128"}},
    "several ways out": {"egress": {"proxies": {"a": "http://proxy:3128"}}},
    "pages of another size": {"engine": {"page_bytes": 1_000}},
}

SAME: dict[str, dict[str, Any]] = {
    "lives": {"cache": {"video_info_seconds": 5}},
    "memory": {"cache": {"table_bytes": 5, "memory_bytes": 5}},
    "processes": {"engine": {"processes": 7}},
    "where results go": {"kafka": {"topic_prefix": "other."}},
}


@pytest.mark.parametrize("name", OTHER)
def test_what_decides_what_a_page_says_is_another_meaning(name: str) -> None:
    assert config_fingerprint(make_settings(**OTHER[name])) != config_fingerprint(PLAIN)


@pytest.mark.parametrize("name", SAME)
def test_all_else_is_the_same(name: str) -> None:
    assert config_fingerprint(make_settings(**SAME[name])) == config_fingerprint(PLAIN)


def test_another_yt_dlp_reads_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    before = config_fingerprint(PLAIN)
    monkeypatch.setattr("agents.pipeline.stage_caches.version", lambda _: "2099.1.1")
    assert config_fingerprint(PLAIN) != before


def test_the_login_of_a_proxy_is_no_part_of_it() -> None:
    open_, closed = (
        make_settings(egress={"proxies": {"a": f"http://{login}proxy:3128"}})
        for login in ("", "user:s3cret@")
    )
    assert config_fingerprint(open_) == config_fingerprint(closed)


def test_it_is_the_same_for_all_workers_and_in_any_order() -> None:
    ways = {"a": "http://one:1", "b": "http://two:2"}
    turned = dict(reversed(ways.items()))
    found = {config_fingerprint(make_settings(egress={"proxies": each})) for each in (ways, turned)}
    assert len(found) == 1
    assert {len(each) for each in found} == {MEANING_BYTES}


def test_shared_keys_name_the_release_and_the_settings() -> None:
    prefix = shared_prefix(PLAIN)
    assert prefix.startswith("clipmill:")
    assert prefix.endswith(f":{config_fingerprint(PLAIN).hex()}:")
    assert shared_prefix(make_settings(**OTHER["a proxy"])) != prefix
