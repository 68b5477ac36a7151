import pytest

from agents.network.proxy import ProxyAddress, SocksProxy, parse_proxy, parse_socks
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
