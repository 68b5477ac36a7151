from typing import Any

import pytest

from agents.caching.row_codec import FINGERPRINT_BYTES
from agents.pipeline.stage_caches import config_fingerprint, shared_prefix
from tests.unit.agents.builders import make_settings

DEFAULTS = make_settings()

DIFFERENT: dict[str, dict[str, Any]] = {
    "a proxy": {"egress": {"proxy": "http://proxy:3128"}},
    "several egresses": {"egress": {"proxies": {"a": "http://proxy:3128"}}},
    "another page size": {"engine": {"page_bytes": 1_000}},
}

EQUIVALENT: dict[str, dict[str, Any]] = {
    "cache lifetimes": {"cache": {"video_info_seconds": 5}},
    "memory": {"cache": {"table_bytes": 5, "memory_bytes": 5}},
    "processes": {"engine": {"processes": 7}},
    "topic prefix": {"kafka": {"topic_prefix": "other."}},
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_settings_that_affect_pages_change_the_fingerprint(name: str) -> None:
    assert config_fingerprint(make_settings(**DIFFERENT[name])) != config_fingerprint(DEFAULTS)


@pytest.mark.parametrize("name", EQUIVALENT)
def test_other_settings_keep_the_fingerprint(name: str) -> None:
    assert config_fingerprint(make_settings(**EQUIVALENT[name])) == config_fingerprint(DEFAULTS)


def test_another_yt_dlp_version_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = config_fingerprint(DEFAULTS)
    monkeypatch.setattr("agents.pipeline.stage_caches.version", lambda _: "2099.1.1")
    assert config_fingerprint(DEFAULTS) != before


def test_proxy_credentials_are_not_part_of_the_fingerprint() -> None:
    without_login, with_login = (
        make_settings(egress={"proxies": {"a": f"http://{login}proxy:3128"}})
        for login in ("", "user:s3cret@")
    )
    assert config_fingerprint(without_login) == config_fingerprint(with_login)


def test_fingerprint_does_not_depend_on_the_egress_order() -> None:
    proxies = {"a": "http://one:1", "b": "http://two:2"}
    reversed_proxies = dict(reversed(proxies.items()))
    fingerprints = {
        config_fingerprint(make_settings(egress={"proxies": each}))
        for each in (proxies, reversed_proxies)
    }
    assert len(fingerprints) == 1
    assert {len(each) for each in fingerprints} == {FINGERPRINT_BYTES}


def test_shared_prefix_contains_the_fingerprint() -> None:
    prefix = shared_prefix(DEFAULTS)
    assert prefix.startswith("clipmill:")
    assert prefix.endswith(f":{config_fingerprint(DEFAULTS).hex()}:")
    assert shared_prefix(make_settings(**DIFFERENT["a proxy"])) != prefix
