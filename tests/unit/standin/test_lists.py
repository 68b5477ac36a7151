"""Profiles, embedded profiles and lists over HTTP."""

import time
from typing import Any

import orjson
import pytest

from tests.standin import Standin, video_id
from tests.standin.accounts import posts_from, sec_uid
from tests.standin.lists import COLLECTION_PAGE, PROFILE_PAGE
from tests.unit.standin.clients import Client, universal_data

PROFILE_LIST = "https://www.tiktok.com/api/creator/item_list/"
COLLECTION_LIST = "https://www.tiktok.com/api/collection/item_list/"
NOW = str(int(time.time() * 1000))


async def detail(client: Client, name: str) -> dict[str, Any]:
    async with client.request(f"https://www.tiktok.com/@{name}") as response:
        assert response.status == 200
        scope = universal_data(await response.read())
    found: dict[str, Any] = scope["webapp.user-detail"]
    return found


async def profile_list(client: Client, name: str, cursor: str = NOW) -> dict[str, Any]:
    async with client.request(f"{PROFILE_LIST}?secUid={sec_uid(name)}&cursor={cursor}") as response:
        found: dict[str, Any] = orjson.loads(await response.read())
    return found


async def collection_list(client: Client, number: str, cursor: int = 0) -> dict[str, Any]:
    url = f"{COLLECTION_LIST}?collectionId={number}&cursor={cursor}"
    async with client.request(url) as response:
        found: dict[str, Any] = orjson.loads(await response.read())
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["itemList"]]


@pytest.mark.parametrize(
    ("name", "posts"), [("anna", 25), ("sc_profile_4000", 4000), ("sc_profile.hidden", 25)]
)
async def test_profile_has_its_sec_uid_and_post_count(
    client: Client, name: str, posts: int
) -> None:
    profile = await detail(client, name)
    assert profile["statusCode"] == 0
    assert profile["userInfo"]["user"]["secUid"] == sec_uid(name)
    assert profile["userInfo"]["user"]["uniqueId"] == name
    assert profile["userInfo"]["stats"]["videoCount"] == posts


@pytest.mark.parametrize(
    ("name", "status"), [("sc_profile.private", 10222), ("sc_profile.missing", 10221)]
)
async def test_hidden_profile_has_its_status(client: Client, name: str, status: int) -> None:
    profile = await detail(client, name)
    assert profile["statusCode"] == status
    assert not profile["userInfo"].get("stats", {}).get("videoCount")


async def test_author_of_a_post_is_its_profile(client: Client) -> None:
    item = await client.item(video_id(serial=3), "anna")
    assert item["author"] == (await detail(client, "anna"))["userInfo"]["user"]


async def test_switch_applies_to_a_profile(standin: Standin, client: Client) -> None:
    standin.switches.set("profile.private", video="anna", times=1)
    statuses = [(await detail(client, name))["statusCode"] for name in ("bob", "anna", "anna")]
    assert statuses == [0, 10222, 0]


@pytest.mark.parametrize(("name", "status"), [("sc_page.429", 429), ("sc_login", 302)])
async def test_page_scenarios_apply_to_profiles(client: Client, name: str, status: int) -> None:
    async with client.request(f"https://www.tiktok.com/@{name}") as response:
        assert response.status == status


async def test_profile_list_is_paged(standin: Standin, client: Client) -> None:
    expected = [post.video_id for post in posts_from("anna", 25, 0, 25)]
    first = await profile_list(client, "anna")
    cursor = first["itemList"][-1]["createTime"] * 1000
    second = await profile_list(client, "anna", str(cursor))

    assert ids(first) == expected[:PROFILE_PAGE]
    assert ids(second) == expected[PROFILE_PAGE:]
    assert (first["hasMorePrevious"], second["hasMorePrevious"]) == (True, False)
    assert standin.counters.of("anna", "listing") == 2
    assert standin.counters.requests == {"listing": 2}


async def test_list_items_equal_page_items(client: Client) -> None:
    listed = (await profile_list(client, "anna"))["itemList"][0]
    item = await client.item(listed["id"], "anna")
    assert {name: listed[name] for name in ("id", "desc", "author", "stats")} == {
        name: item[name] for name in ("id", "desc", "author", "stats")
    }


async def test_collection_list_is_paged(standin: Standin, client: Client) -> None:
    number = video_id("collection", param=40)
    expected = [post.video_id for post in posts_from(number, 40, 0, 40)]
    pages = [await collection_list(client, number, cursor) for cursor in (0, COLLECTION_PAGE, 60)]

    assert [ids(page) for page in pages] == [expected[:30], expected[30:], []]
    assert [page["hasMore"] for page in pages] == [True, False, False]
    assert standin.counters.of(number, "listing") == 3


async def test_any_id_is_a_collection(client: Client) -> None:
    assert len((await collection_list(client, "7608826249200356630"))["itemList"]) == 30


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("sc_list.429", 429, b"too many requests"),
        ("sc_list.nothing", 200, b""),
        ("sc_list.status_10000", 200, b'{"statusCode":10000,"statusMsg":""}'),
    ],
)
async def test_list_scenario_has_its_status_and_body(
    client: Client, name: str, status: int, body: bytes
) -> None:
    async with client.request(f"{PROFILE_LIST}?secUid={sec_uid(name)}&cursor={NOW}") as response:
        assert (response.status, await response.read()) == (status, body)


async def test_first_page_of_a_list_is_repeated(client: Client) -> None:
    answers = [await profile_list(client, "sc_list.same", cursor) for cursor in (NOW, "1")]
    assert ids(answers[0]) == ids(answers[1])
    assert answers[1]["hasMorePrevious"]


@pytest.mark.parametrize(
    "url",
    [
        f"{PROFILE_LIST}?secUid=nobody&cursor=1",
        f"{PROFILE_LIST}?secUid={sec_uid('anna')}&cursor=now",
        f"{PROFILE_LIST}",
        f"{COLLECTION_LIST}?collectionId=x&cursor=0",
        f"{COLLECTION_LIST}?collectionId=7",
    ],
)
async def test_invalid_list_request_has_an_error_status(client: Client, url: str) -> None:
    async with client.request(url) as response:
        assert orjson.loads(await response.read())["statusCode"] == 10201


async def test_embedded_profile_has_its_newest_posts(client: Client) -> None:
    async with client.request("https://www.tiktok.com/embed/@anna") as response:
        page = await response.read()
    assert b"__FRONTITY_CONNECT_STATE__" in page
    assert all(post.video_id.encode() in page for post in posts_from("anna", 3, 0, 3))
