import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.standin import Standin, short_code, video_id
from tests.standin.short_links import KINDS, read_code
from tests.unit.standin.clients import Client

VIDEO = video_id(serial=5)


@given(kind=st.sampled_from(sorted(KINDS)), number=st.integers(0, 10**19 - 1))
def test_code_encodes_kind_and_video(kind: str, number: int) -> None:
    code = short_code(str(number), kind)

    assert code.isalnum()
    assert read_code(code) == (kind, str(number))


@given(st.text(max_size=20))
def test_any_text_is_read_without_an_error(text: str) -> None:
    read_code(text)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("prefix", ["vm.tiktok.com/", "vt.tiktok.com/", "www.tiktok.com/t/"])
async def test_link_redirects_to_its_video(client: Client, prefix: str, method: str) -> None:
    url = f"https://{prefix}{short_code(VIDEO)}/"
    async with client.request(url, method) as response:
        assert response.status == 301
        target = response.headers["Location"]

    assert target.startswith("https://www.tiktok.com/@clip.maker")
    assert f"/video/{VIDEO}?" in target


@pytest.mark.parametrize(
    ("kind", "status", "location"),
    [
        ("photo", 301, f"/photo/{VIDEO}"),
        ("story", 301, f"/story/{VIDEO}"),
        ("profile", 301, "https://www.tiktok.com/@clip.maker"),
        ("collection", 301, f"/collection/cats-{VIDEO}"),
        ("live", 301, "/live?"),
        ("chain", 301, f"https://www.tiktok.com/t/{short_code(VIDEO)}/"),
        ("dead", 404, ""),
        ("loop", 301, f"https://vm.tiktok.com/{short_code(VIDEO, 'loop')}"),
        ("outside", 301, "https://clips.example.com/"),
        ("loopback", 301, "http://127.0.0.1/"),
        ("home", 301, "https://www.tiktok.com/"),
        ("login", 301, "https://www.tiktok.com/login?"),
        ("page", 200, ""),
        ("nowhere", 301, ""),
        ("lite", 301, f"https://t.tiktok.com/i18n/share/video/{VIDEO}/"),
        ("escaped", 301, "https://www.tiktok.com/%40clip.maker"),
        ("shared", 301, f"https://www.tiktok.com/?share_item_id={VIDEO}"),
        ("account", 301, f"https://www.tiktok.com/share/user/{VIDEO}"),
        ("limited", 429, ""),
        ("broken", 503, ""),
    ],
)
async def test_kind_has_its_status_and_location(
    client: Client, kind: str, status: int, location: str
) -> None:
    async with client.request(f"https://vm.tiktok.com/{short_code(VIDEO, kind)}") as response:
        assert response.status == status
        assert location in response.headers.get("Location", "")


@pytest.mark.parametrize(("kind", "status"), [("browser", 200), ("app", 301), ("wall", 301)])
async def test_target_is_sent_to_browsers_only(client: Client, kind: str, status: int) -> None:
    url = f"https://vm.tiktok.com/{short_code(VIDEO, kind)}"
    async with client.request(url, headers={"User-Agent": "facebookexternalhit/1.1"}) as response:
        assert response.status == status
        assert VIDEO not in response.headers.get("Location", "")
    async with client.request(url, headers={"User-Agent": "Mozilla/5.0 (X11)"}) as response:
        assert f"/video/{VIDEO}" in response.headers["Location"]


async def test_account_id_redirects_to_its_profile(client: Client) -> None:
    async with client.request(f"https://www.tiktok.com/share/user/{VIDEO}") as response:
        assert response.status == 301
        assert response.headers["Location"].startswith("https://www.tiktok.com/@clip.maker")


async def test_chain_ends_at_the_page(client: Client) -> None:
    url = f"https://vm.tiktok.com/{short_code(VIDEO, 'chain')}/"
    async with client.request(url, allow_redirects=True) as response:
        assert response.url.path.endswith(f"/video/{VIDEO}")
        assert [step.status for step in response.history] == [301, 301]


async def test_unknown_code_is_dead(client: Client) -> None:
    async with client.request("https://vm.tiktok.com/ZMhKqXYZt/") as response:
        assert response.status in {301, 404}
    async with client.request("https://vm.tiktok.com/hello/") as response:
        assert response.status == 404


async def test_hanging_link_is_counted(standin: Standin, client: Client) -> None:
    url = f"https://vm.tiktok.com/{short_code(VIDEO, 'hang')}"
    with pytest.raises(TimeoutError):
        async with client.request(url, timeout=aiohttp.ClientTimeout(total=0.2)):
            pass

    assert standin.counters.of(VIDEO, "short") == 1
