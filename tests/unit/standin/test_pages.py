import base64
import json
import re

import pytest

from tests.standin import Case, Standin, video_id
from tests.standin.links import Issue
from tests.standin.pages import STATUSES, challenge_page, post_page, solves_challenge, status_page
from tests.standin.posts import post_for
from tests.standin.scenarios import scenario_named
from tests.standin.wire import Body
from tests.unit.standin.clients import DETAIL, Client, universal_data

VIDEO = video_id(serial=9)


def body_bytes(body: Body) -> bytes:
    return b"".join(body.chunks())


def test_page_has_realistic_sizes() -> None:
    page = body_bytes(post_page(post_for(VIDEO), Issue(1_790_000_000.0)))
    scope = universal_data(page)

    assert 300_000 < len(page) < 400_000
    sizes = {name: len(json.dumps(value)) for name, value in scope.items()}
    assert 180_000 < sizes["webapp.i18n-translation"] < 230_000
    assert 70_000 < sizes["webapp.app-context"] < 100_000
    assert 32_000 < sizes[DETAIL] < 45_000
    assert list(scope)[-1] == DETAIL


def test_slashes_are_escaped_as_on_the_site() -> None:
    page = body_bytes(post_page(post_for(VIDEO), Issue(1_790_000_000.0)))
    script = page.partition(b'type="application/json">')[2].partition(b"</script>")[0]

    assert b"/" not in script
    assert b"https:\\u002F\\u002Fv16-webapp-prime.tiktok.com\\u002F" in script


def test_text_of_a_post_cannot_end_its_script() -> None:
    post = post_for(VIDEO, case=Case(scenario_named("hostile")))
    scope = universal_data(body_bytes(post_page(post, Issue(1_790_000_000.0))))

    assert scope[DETAIL]["itemInfo"]["itemStruct"]["desc"] == post.description


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
async def test_status_scenario_has_its_code_and_message(
    client: Client, name: str, status: tuple[int, str]
) -> None:
    detail = await client.detail(video_id(name))

    assert (detail["statusCode"], detail["statusMsg"]) == status
    assert "itemInfo" not in detail


def test_status_page_has_the_size_of_a_post() -> None:
    assert status_page(10204, "").length > 250_000


@pytest.mark.parametrize("solution", [0, 7, 500])
def test_only_the_solution_solves_the_challenge(solution: int) -> None:
    page = body_bytes(challenge_page(solution)).decode()
    found = re.search(r'id="cs" class="([^"]+)"', page)
    assert found is not None
    task = json.loads(base64.b64decode(f"{found[1]}==="))

    def cookie(number: object) -> str:
        answer = base64.b64encode(str(number).encode()).decode()
        return base64.b64encode(json.dumps({**task, "d": answer}).encode()).decode()

    assert solves_challenge(cookie(solution), solution)
    assert not solves_challenge(cookie(solution + 1), solution)
    assert not solves_challenge(cookie(solution), solution + 1)
    assert not any(solves_challenge(bad, solution) for bad in ("", "x", "bm8=", "W10="))
    assert re.search(rb'id="wci" class="_wafchallengeid"', body_bytes(challenge_page(solution)))


async def test_page_sets_the_media_cookie(standin: Standin, client: Client) -> None:
    async with client.request(f"https://www.tiktok.com/@_/video/{VIDEO}") as response:
        cookie = response.cookies["tt_chain_token"]

    assert (cookie["domain"], cookie["path"], cookie["secure"]) == (".tiktok.com", "/", True)
    assert standin.counters.of(VIDEO) == 1


@pytest.mark.parametrize(
    "url",
    [
        f"https://www.tiktok.com/@someone/video/{VIDEO}",
        f"https://www.tiktok.com/@/video/{VIDEO}",
        f"https://www.tiktok.com/@someone/photo/{VIDEO}",
        f"https://www.tiktok.com/@someone/story/{VIDEO}",
        f"https://www.tiktok.com/share/video/{VIDEO}/",
        f"https://m.tiktok.com/@someone/video/{VIDEO}",
        f"https://www.tiktok.com/@someone/video/{VIDEO}?lang=en",
    ],
)
async def test_all_url_forms_serve_the_page(client: Client, url: str) -> None:
    async with client.request(url) as response:
        scope = universal_data(await response.read())

    assert scope[DETAIL]["itemInfo"]["itemStruct"]["id"] == VIDEO


async def test_author_is_the_requested_user_or_a_constant(client: Client) -> None:
    named = await client.item(VIDEO, "someone")
    first, second = await client.item(VIDEO), await client.item(VIDEO)

    assert named["author"]["uniqueId"] == "someone"
    assert first["author"] == second["author"]


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/login", 200), ("/nothing/here", 404), ("/@x/video/", 404)]
)
async def test_other_pages_have_their_status(client: Client, path: str, status: int) -> None:
    async with client.request(f"https://www.tiktok.com{path}") as response:
        assert response.status == status


async def test_photo_post_lists_images_and_music_only(client: Client) -> None:
    item = await client.item(video_id("photo", param=2))
    pictures = item["imagePost"]["images"]

    assert len(pictures) == 2
    hosts = [[url.split("/")[2] for url in each["imageURL"]["urlList"]] for each in pictures]
    assert hosts == [["p16-sign-va.tiktokcdn.com", "p19-sign-va.tiktokcdn.com"]] * 2
    assert not {"playAddr", "downloadAddr", "bitrateInfo"} & item["video"].keys()
    assert item["music"]["playUrl"]


async def test_photo_post_without_music_has_images_only(client: Client) -> None:
    item = await client.item(video_id("photo.mute"))

    assert len(item["imagePost"]["images"]) == 3
    assert not item["music"]["playUrl"]


async def test_slideshow_post_has_images_and_a_video(client: Client) -> None:
    item = await client.item(video_id("slideshow"))

    assert len(item["imagePost"]["images"]) == 3
    assert len(item["video"]["bitrateInfo"]) == 6


async def test_picture_is_missing_on_the_first_host(client: Client) -> None:
    item = await client.item(video_id("photo.onehost"))
    statuses = []
    for url in item["imagePost"]["images"][0]["imageURL"]["urlList"]:
        async with client.request(url) as response:
            statuses.append(response.status)

    assert statuses == [404, 200]


async def test_links_are_expired_and_then_valid(client: Client) -> None:
    video = video_id("expired", times=1)
    statuses = []
    for _ in range(2):
        async with client.request(await client.media_url(video)) as response:
            statuses.append(response.status)

    assert statuses == [403, 200]
