"""Platforms defined by settings alone, without code."""

import json
from pathlib import Path
from typing import Any

import pytest

from streams.settings import ConfiguredSite, SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("own_settings")

SITE: dict[str, Any] = {
    "hosts": ["hitrecord.org"],
    "extractors": ["HitRecord"],
    "media_hosts": [".hitrecord.org"],
}


def test_no_platforms_by_default() -> None:
    assert load_settings().platforms == {}


def test_site_from_the_file() -> None:
    Path("clipmill.toml").write_text(
        "[platforms.hitrecord]\n"
        'hosts = ["hitrecord.org", "www.hitrecord.org"]\n'
        'extractors = ["HitRecord"]\n'
        'media_hosts = [".hitrecord.org"]\n'
    )
    assert load_settings().platforms == {
        "hitrecord": ConfiguredSite(
            hosts=("hitrecord.org", "www.hitrecord.org"),
            extractors=("HitRecord",),
            media_hosts=(".hitrecord.org",),
        )
    }


def test_site_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    site = SITE | {"short_hosts": ["hr.example"]}
    monkeypatch.setenv("CLIPMILL_PLATFORMS", json.dumps({"hitrecord": site}))
    assert load_settings().platforms["hitrecord"].short_hosts == ("hr.example",)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hosts": []}, "hosts"),
        ({"hosts": ["https://hitrecord.org"]}, "hosts.0"),
        ({"hosts": ["HitRecord.org"]}, "hosts.0"),
        ({"hosts": ["hitrecord.org:443"]}, "hosts.0"),
        ({"hosts": ["hitrecord"]}, "hosts.0"),
        ({"hosts": ["127.0.0.1"]}, "hosts.0"),
        ({"hosts": ["[::1]"]}, "hosts.0"),
        ({"hosts": ["*.hitrecord.org"]}, "hosts.0"),
        ({"hosts": ["-a.hitrecord.org"]}, "hosts.0"),
        ({"hosts": [f"{'a.' * 126}com"]}, "hosts.0"),
        ({"hosts": ["hitrecord.org\n"]}, "hosts.0"),
        ({"short_hosts": ["localhost"]}, "short_hosts.0"),
        ({"media_hosts": []}, "media_hosts"),
        ({"media_hosts": [".com"]}, "media_hosts.0"),
        ({"media_hosts": ["."]}, "media_hosts.0"),
        ({"media_hosts": ["hitrecord.org"]}, "media_hosts.0"),
        ({"media_hosts": ["..org"]}, "media_hosts.0"),
        ({"media_hosts": [".0.0.1"]}, "media_hosts.0"),
        ({"extractors": []}, "extractors"),
        ({"extractors": ["os:system"]}, "extractors.0"),
        ({"extractors": ["A,B"]}, "extractors.0"),
        ({"extractors": [""]}, "extractors.0"),
        ({"extractors": ["Generic"]}, "never allowed"),
        ({"extractors": ["HitRecord", "generic"]}, "never allowed"),
        ({"short_hosts": ["hitrecord.org"]}, "hitrecord.org is named twice"),
        ({"options": {"exec": "rm"}}, "options"),
    ],
    ids=str,
)
def test_invalid_site_is_rejected_with_the_field(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], field: str
) -> None:
    monkeypatch.setenv("CLIPMILL_PLATFORMS", json.dumps({"hitrecord": SITE | change}))
    with pytest.raises(SettingsError, match=rf"^platforms\.hitrecord.*{field}"):
        load_settings()


@pytest.mark.parametrize("field", ["hosts", "extractors", "media_hosts"])
def test_site_without_required_field_is_rejected(
    monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    site = {name: value for name, value in SITE.items() if name != field}
    monkeypatch.setenv("CLIPMILL_PLATFORMS", json.dumps({"hitrecord": site}))
    with pytest.raises(SettingsError, match=rf"platforms\.hitrecord\.{field} .*required"):
        load_settings()


@pytest.mark.parametrize("name", ["", "Hit", "a:b", "../x", "a.b", "1a", "x" * 33])
def test_invalid_platform_name_is_rejected(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("CLIPMILL_PLATFORMS", json.dumps({name: SITE}))
    with pytest.raises(SettingsError, match="platforms"):
        load_settings()


def test_media_hosts_alone_extend_an_installed_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLIPMILL_PLATFORMS", '{"tiktok": {"media_hosts": [".cdn.example.net"]}}')
    added = load_settings().platforms["tiktok"]
    assert added.media_hosts == (".cdn.example.net",)
    assert (added.hosts, added.short_hosts, added.extractors) == ((), (), ())


@pytest.mark.parametrize("hosts", [[], [".com"], ["cdn.example.net"], [1], "x", None])
def test_invalid_media_hosts_alone_are_rejected(
    monkeypatch: pytest.MonkeyPatch, hosts: Any
) -> None:
    monkeypatch.setenv("CLIPMILL_PLATFORMS", json.dumps({"tiktok": {"media_hosts": hosts}}))
    with pytest.raises(SettingsError, match=r"^platforms\.tiktok.*media_hosts"):
        load_settings()


def test_page_hosts_alone_extend_an_installed_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"page_hosts": ["tiktok.example"], "media_hosts": [".cdn.example.net"]}
    monkeypatch.setenv("CLIPMILL_PLATFORMS", json.dumps({"tiktok": value, "x": {**value}}))
    added = load_settings().platforms["tiktok"]
    assert (added.hosts, added.media_hosts) == (("tiktok.example",), (".cdn.example.net",))
    assert (added.short_hosts, added.extractors) == ((), ())


@pytest.mark.parametrize(
    "hosts", [[], ["tiktok"], [".tiktok.example"], ["TikTok.example"], ["10.0.0.1"], [1], "x", None]
)
def test_invalid_page_hosts_alone_are_rejected(monkeypatch: pytest.MonkeyPatch, hosts: Any) -> None:
    monkeypatch.setenv("CLIPMILL_PLATFORMS", json.dumps({"tiktok": {"page_hosts": hosts}}))
    with pytest.raises(SettingsError, match=r"^platforms\.tiktok.*page_hosts"):
        load_settings()


def test_page_hosts_of_a_platform_without_code_are_its_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = SITE | {"page_hosts": ["more.example"]}
    monkeypatch.setenv("CLIPMILL_PLATFORMS", json.dumps({"hitrecord": site}))
    with pytest.raises(SettingsError, match=r"platforms\.hitrecord\.page_hosts"):
        load_settings()


@pytest.mark.parametrize("value", [{}, [], "x", None, 1])
def test_platform_that_is_no_table_is_rejected(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setenv("CLIPMILL_PLATFORMS", json.dumps({"tiktok": value}))
    with pytest.raises(SettingsError, match=r"^platforms\.tiktok"):
        load_settings()
