import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.network.addresses import MAX_CHARACTERS, is_permitted, parse_media_url
from schemas.errors import ClipmillError, ErrorCode

HOSTS = (".tiktok.com", "tiktokcdn.com")


@pytest.mark.parametrize(
    ("host", "permitted"),
    [
        ("v16.tiktok.com", True),
        ("a.b.tiktok.com", True),
        ("tiktok.com", True),
        ("V16.TikTok.com", True),
        ("v19.tiktokcdn.com", True),
        ("eviltiktok.com", False),
        ("tiktok.com.evil.example", False),
        ("tiktok.com.", False),
        ("com", False),
        ("127.0.0.1", False),
        ("", False),
    ],
)
def test_hosts_match_on_whole_labels(host: str, *, permitted: bool) -> None:
    assert is_permitted(host, HOSTS) is permitted


@pytest.mark.parametrize("hosts", [(), ("",), (".",)], ids=["none", "empty", "dot"])
def test_empty_host_list_permits_nothing(hosts: tuple[str, ...]) -> None:
    assert not is_permitted("v16.tiktok.com", hosts)


@pytest.mark.parametrize(
    "text",
    [
        "https://v16.tiktok.com/video/tos/?a=1&sig=%2Fx%2b+y&l=a|b",
        "https://v16.tiktok.com/a%20b/~x;y=1/?expire=1#f",
    ],
)
def test_signed_url_is_kept_verbatim(text: str) -> None:
    assert str(parse_media_url(text, HOSTS)) == text


@pytest.mark.parametrize(
    "text",
    [
        "http://v16.tiktok.com/x",
        "ftp://v16.tiktok.com/x",
        "file:///etc/passwd",
        "//v16.tiktok.com/x",
        "/video",
        "",
        "https:///x",
        "https://user@v16.tiktok.com/x",
        "https://:pw@v16.tiktok.com/x",
        "https://v16.tiktok.com:port/x",
        "https://v16.tiktok.com/a b",
        "https://v16.tiktok.com/\r\nHost: evil",
        "https://v16.tiktok.com/\u00e9",
        "https://[::1/x",
        "https://v16.tiktok.com/" + "x" * MAX_CHARACTERS,
        "https://evil.example/x",
        "https://v16.tiktok.com@evil.example/x",
        "https://evil.example\\@v16.tiktok.com/x",
        "https://evil.example#@v16.tiktok.com/x",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        parse_media_url(text, HOSTS)
    assert caught.value.code is ErrorCode.PLATFORM_CHANGED


@pytest.mark.parametrize("port", ["80", "22", "444", "8443", "0443443", "65535", "1"])
def test_other_port_of_a_permitted_host_is_refused(port: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        parse_media_url(f"https://v16.tiktok.com:{port}/x?signature=secret", HOSTS)
    assert caught.value.code is ErrorCode.PLATFORM_CHANGED
    assert "secret" not in caught.value.message


def test_refusal_names_the_port() -> None:
    with pytest.raises(ClipmillError, match="leads to port 8443 of v16"):
        parse_media_url("https://v16.tiktok.com:8443/x", HOSTS)


@pytest.mark.parametrize("authority", ["v16.tiktok.com:443", "v16.tiktok.com:"])
def test_explicit_https_port_is_accepted(authority: str) -> None:
    assert parse_media_url(f"https://{authority}/x", HOSTS).port == 443


def test_refusal_names_the_host_only() -> None:
    with pytest.raises(ClipmillError) as caught:
        parse_media_url("https://evil.example/x?signature=secret", HOSTS)
    assert "evil.example" in caught.value.message
    assert "secret" not in caught.value.message


@given(st.text(max_size=200) | st.text(max_size=60).map(lambda tail: f"https://{tail}"))
def test_any_text_is_a_permitted_url_or_a_clipmill_error(text: str) -> None:
    try:
        url = parse_media_url(text, HOSTS)
    except ClipmillError:
        return
    assert (url.scheme, url.port) == ("https", 443)
    assert is_permitted(url.host or "", HOSTS)
