import pytest

from agents.network.proxy import ProxyAddress, parse_proxy
from schemas.errors import ClipmillError, ErrorCode


@pytest.mark.parametrize(
    ("url", "address", "text"),
    [
        ("http://127.0.0.1:3128", ProxyAddress("127.0.0.1", 3128), "127.0.0.1:3128"),
        ("http://Proxy.Example", ProxyAddress("proxy.example", 80), "proxy.example:80"),
        ("https://user:secret@proxy", ProxyAddress("proxy", 443), "proxy:443"),
        ("http://[::1]:8080/", ProxyAddress("::1", 8080), "[::1]:8080"),
    ],
    ids=["address", "default port", "with a user", "IPv6"],
)
def test_a_proxy_url_names_an_address(url: str, address: ProxyAddress, text: str) -> None:
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
        "http://",
        "http://proxy:secret",
        "http://p:0",
    ],
)
def test_an_unusable_proxy_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        parse_proxy(url)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert "secret" not in str(caught.value)
