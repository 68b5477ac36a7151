import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from agents.network.request_headers import cookie_header, cookie_matches, media_headers
from schemas.video import Cookie, MediaSource, VideoFormat

URL_V16 = URL("https://v16.tiktok.com/video/tos/x?a=1")


def cookie(domain: str = ".tiktok.com", path: str = "/", **rest: object) -> Cookie:
    fields = {"name": "tt_chain_token", "value": "abc==", **rest}
    return Cookie(domain=domain, path=path, **fields)  # type: ignore[arg-type]


def source(headers: dict[str, str], *cookies: Cookie) -> MediaSource:
    return MediaSource(
        format=VideoFormat(format_id="play", container="mp4"),
        url=str(URL_V16),
        headers=headers,
        cookies=cookies,
    )


@pytest.mark.parametrize(
    ("domain", "url", "sent"),
    [
        (".tiktok.com", "https://v16.tiktok.com/", True),
        (".tiktok.com", "https://a.b.tiktok.com/", True),
        (".tiktok.com", "https://tiktok.com/", True),
        (".TikTok.com", "https://v16.tiktok.com/", True),
        ("tiktok.com", "https://tiktok.com/", True),
        ("tiktok.com", "https://v16.tiktok.com/", False),
        (".tiktok.com", "https://v19.tiktokcdn.com/", False),
        (".tiktok.com", "https://eviltiktok.com/", False),
        (".tiktok.com", "https://tiktok.com.evil.example/", False),
        (".0.0.1", "https://127.0.0.1/", False),
        ("127.0.0.1", "https://127.0.0.1/", True),
        ("", "https://v16.tiktok.com/", False),
        (".", "https://v16.tiktok.com/", False),
    ],
)
def test_cookies_are_sent_to_their_domain_only(domain: str, url: str, *, sent: bool) -> None:
    assert cookie_matches(cookie(domain), URL(url)) is sent


@pytest.mark.parametrize(
    ("path", "requested", "sent"),
    [
        ("/", "/video/x", True),
        ("/video", "/video", True),
        ("/video", "/video/x", True),
        ("/video/", "/video/x", True),
        ("/video", "/videos/x", False),
        ("/video/x", "/video", False),
        ("", "/video", True),
        ("odd", "/video", True),
    ],
)
def test_cookies_are_sent_to_their_path_only(path: str, requested: str, *, sent: bool) -> None:
    assert cookie_matches(cookie(path=path), URL(f"https://v16.tiktok.com{requested}")) is sent


@pytest.mark.parametrize(
    ("secure", "scheme", "sent"),
    [(True, "https", True), (True, "http", False), (False, "http", True), (False, "https", True)],
)
def test_secure_cookies_are_never_sent_over_http(scheme: str, *, secure: bool, sent: bool) -> None:
    assert cookie_matches(cookie(secure=secure), URL(f"{scheme}://v16.tiktok.com/")) is sent


def test_several_cookies_are_one_header_with_longer_paths_first() -> None:
    cookies = [cookie(name="a", value="1"), cookie(name="b", value="2", path="/video")]
    assert cookie_header(cookies, URL_V16) == {"Cookie": "b=2; a=1"}


def test_no_matching_cookie_gives_no_header() -> None:
    assert cookie_header([cookie(".example.com")], URL_V16) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a", "1\r\nX-Evil: 1"),
        ("a", "1; b=2"),
        ("a", "1\x00"),
        ("a", "caf\u00e9"),
        ("a b", "1"),
        ("a=b", "1"),
        ("", "1"),
        ("a", "x" * 5000),
    ],
)
def test_malformed_cookies_are_dropped(name: str, value: str) -> None:
    assert cookie_header([cookie(name=name, value=value)], URL_V16) == {}


def test_only_safe_headers_of_the_page_are_forwarded() -> None:
    page_headers = {
        "User-Agent": "Mozilla/5.0",
        "referer": "https://www.tiktok.com/@_/video/1",
        "Cookie": "sessionid=secret",
        "Authorization": "Basic secret",
        "Host": "evil.example",
        "Range": "bytes=5-",
        "Accept-Encoding": "gzip",
        "Transfer-Encoding": "chunked",
        "Accept": "*/*\r\nX-Evil: 1",
    }
    assert media_headers(source(page_headers, cookie()), URL_V16) == {
        "User-Agent": "Mozilla/5.0",
        "referer": "https://www.tiktok.com/@_/video/1",
        "Accept-Encoding": "identity",
        "Cookie": "tt_chain_token=abc==",
    }


def test_another_host_gets_no_cookie() -> None:
    headers = media_headers(source({}, cookie()), URL("https://v19.tiktokcdn.com/x"))
    assert headers == {"Accept-Encoding": "identity"}


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40)), st.text(), st.text())
def test_no_input_injects_header_lines(headers: dict[str, str], name: str, value: str) -> None:
    made = media_headers(source(headers, cookie(name=name, value=value)), URL_V16)
    assert all(text.isprintable() and text.isascii() for text in made.values())
