from pathlib import Path
from typing import Any

import pytest
import trustme

from agents.access.egress import egress_names, open_egresses
from agents.network.egress import Egress
from schemas.errors import ClipmillError, ErrorCode
from streams.settings import EgressSettings, Settings
from tests.unit.agents.builders import make_settings

A, B = "http://user:pw@a.example:3128", "https://b.example:443"


def settings(folder: Path, **egress: Any) -> Settings:
    return make_settings(data_dir=folder, egress=EgressSettings(**egress))


@pytest.mark.parametrize(
    ("egress", "expected"),
    [
        ({}, {"direct": None}),
        ({"proxy": A}, {"proxy": A}),
        ({"proxies": {"b": B, "a": A}}, {"b": B, "a": A}),
    ],
)
def test_egresses_are_named_by_the_settings(
    tmp_path: Path, egress: dict[str, Any], expected: dict[str, str | None]
) -> None:
    chosen = settings(tmp_path, **egress)
    assert egress_names(chosen) == tuple(expected)
    assert open_egresses(chosen) == {
        name: Egress(name=name, proxy=proxy) for name, proxy in expected.items()
    }


def test_all_egresses_share_one_ca_bundle(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca_file)
    opened = open_egresses(settings(tmp_path, proxies={"a": A, "b": B}, ca_file=ca_file))
    bundle = tmp_path / "ca-bundle.pem"
    assert {(each.ca_file, each.ca_bundle) for each in opened.values()} == {(ca_file, bundle)}
    assert ca_file.read_bytes().strip() in bundle.read_bytes()


def test_unreadable_ca_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ClipmillError) as caught:
        open_egresses(settings(tmp_path, ca_file=tmp_path / "none.pem"))
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
