import ssl
from pathlib import Path

import certifi
import pytest
import trustme

from agents.network.egress import (
    Egress,
    ProxyAddress,
    SocksProxy,
    client_context,
    parse_proxy,
    parse_socks,
    write_ca_bundle,
)
from schemas.errors import ClipmillError, ErrorCode


@pytest.mark.parametrize(
    ("url", "address", "text"),
    [
        ("http://127.0.0.1:3128", ProxyAddress("127.0.0.1", 3128), "127.0.0.1:3128"),
        ("http://Proxy.Example", ProxyAddress("proxy.example", 80), "proxy.example:80"),
        ("https://user:secret@proxy", ProxyAddress("proxy", 443), "proxy:443"),
        ("http://[::1]:8080/", ProxyAddress("::1", 8080), "[::1]:8080"),
        ("socks5h://u:p@Proxy.Example:99", ProxyAddress("proxy.example", 99), "proxy.example:99"),
        ("socks5h://[::1]", ProxyAddress("::1", 1080), "[::1]:1080"),
    ],
    ids=["address", "default port", "with a user", "IPv6", "SOCKS", "SOCKS, default port"],
)
def test_proxy_url_is_parsed(url: str, address: ProxyAddress, text: str) -> None:
    assert parse_proxy(url) == address
    assert str(address) == text


def test_no_proxy_is_no_address() -> None:
    assert parse_proxy(None) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "proxy:3128",
        "socks5://u:secret@proxy:1080",
        "socks4a://u:secret@proxy:1080",
        "socks5h://",
        "socks5h://u:secret@:1080",
        "socks5h://u:secret@proxy:0",
        "socks5h://proxy:secret",
        "http://",
        "http://proxy:secret",
        "http://p:0",
    ],
)
def test_invalid_proxy_is_refused_without_echoing_it(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        parse_proxy(url)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("socks5h://proxy", SocksProxy(ProxyAddress("proxy", 1080))),
        ("socks5h://a%40b:c%2Fd%3A@p:1", SocksProxy(ProxyAddress("p", 1), "a@b", "c/d:")),
        ("http://u:p@proxy:3128", None),
        (None, None),
    ],
)
def test_login_of_a_socks_proxy_is_decoded(url: str | None, expected: SocksProxy | None) -> None:
    assert parse_socks(url) == expected


def test_repr_of_a_socks_proxy_hides_its_login() -> None:
    shown = repr(parse_socks("socks5h://user:secret@proxy:1"))
    assert "proxy:1" in shown
    assert not [each for each in ("user", "secret") if each in shown]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(tmp_path: Path, authority: trustme.CA) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def roots(context: ssl.SSLContext) -> set[bytes]:
    return set(context.get_ca_certs(binary_form=True))


def default_roots() -> set[bytes]:
    return roots(ssl.create_default_context(cafile=certifi.where()))


def root_of(authority: trustme.CA) -> bytes:
    return ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())


def test_default_roots_are_trusted_without_a_ca_file() -> None:
    context = client_context(Egress())
    assert roots(context) == default_roots()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_ca_file_is_trusted_in_addition(ca_file: Path, authority: trustme.CA) -> None:
    trusted = roots(client_context(Egress(ca_file=ca_file)))
    assert trusted == default_roots() | {root_of(authority)}


def test_bundle_has_default_and_additional_roots(
    ca_file: Path, authority: trustme.CA, tmp_path: Path
) -> None:
    target = tmp_path / "bundle.pem"
    assert write_ca_bundle(ca_file, target) == target
    trusted = roots(ssl.create_default_context(cafile=target))
    assert trusted == default_roots() | {root_of(authority)}


def test_bundle_replaces_an_older_one_without_leftovers(ca_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "bundle.pem"
    target.write_text("old")
    write_ca_bundle(ca_file, target)
    assert "old" not in target.read_text()[:3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.pem", "ca.pem"]


BROKEN = "-----BEGIN CERTIFICATE-----\nnot base64 at all\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("content", [None, b"", b"hello", BROKEN.encode(), b"\xff\xfe\x00"])
def test_invalid_ca_file_is_an_error_that_names_it(content: bytes | None, tmp_path: Path) -> None:
    ca_file = tmp_path / "mine.pem"
    if content is not None:
        ca_file.write_bytes(content)
    for attempt in (
        lambda: client_context(Egress(ca_file=ca_file)),
        lambda: write_ca_bundle(ca_file, tmp_path / "bundle.pem"),
    ):
        with pytest.raises(ClipmillError, match=r"mine\.pem.*name a readable PEM file") as caught:
            attempt()
        assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert not (tmp_path / "bundle.pem").exists()


def test_unwritable_directory_is_an_error_that_names_it(ca_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipmillError, match="missing/bundle") as caught:
        write_ca_bundle(ca_file, tmp_path / "missing" / "bundle.pem")
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


def test_failed_replacement_leaves_no_temporary_file(ca_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "bundle.pem"
    target.mkdir()
    (target / "full").touch()
    with pytest.raises(ClipmillError):
        write_ca_bundle(ca_file, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.pem", "ca.pem"]
