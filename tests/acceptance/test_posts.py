"""Every form of TikTok's links and posts through the whole pipeline, all published at once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agents.pipeline.request_parsing import clip
from tests.acceptance.client import Message, PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import expected_images, expected_media, short_code, user_name, video_id
from tests.standin.accounts import posts_from
from tests.standin.page_answers import moved_id
from tests.standin.posts import post_for
from tests.standin.short_links import KINDS
from tests.unit.agents.platforms.link_forms import CODE, ID, LINK_FORMS, LITE

pytestmark = pytest.mark.asyncio(loop_scope="module")

WWW = "https://www.tiktok.com"
SEC_UID = f"MS4wLjABAAAA{'x' * 64}"


def small(serial: int) -> str:
    return video_id("kilobytes", param=16, serial=serial)


VIDEO_FORMS = (
    f"{WWW}/@name/video/{{id}}",
    "http://www.tiktok.com/@name/video/{id}?is_from_webapp=1&sender_device=pc",
    f"{WWW}/@/video/{{id}}",
    f"{WWW}/video/{{id}}",
    f"{WWW}/@name/photo/{{id}}",
    f"{WWW}/@name/story/{{id}}",
    f"{WWW}/share/video/{{id}}",
    f"{WWW}/embed/{{id}}",
    f"{WWW}/embed/v2/{{id}}",
    f"{WWW}/player/v1/{{id}}?loop=1",
    "https://www.tiktokv.com/share/video/{id}/",
    "https://tiktokv.com/share/video/{id}",
    "https://tiktok.com/@name/video/{id}",
    "tiktok.com/@name/video/{id}",
    "https://m.tiktok.com/@name/video/{id}",
    "https://m.tiktok.com/v/{id}.html",
    "https://us.tiktok.com/@name/video/{id}",
    "https://lite.tiktok.com/@name/video/{id}",
    "https://vm.tiktok.com/{video}/",
    "https://vt.tiktok.com/{video}",
    f"{WWW}/t/{{video}}/",
    "https://tiktok.com/t/{video}/",
    "https://lite.tiktok.com/t/{video}/",
    "https://vm.tiktok.com/{chain}/",
    "https://vm.tiktok.com/{photo}/",
    "https://vt.tiktok.com/{story}/",
    f"{WWW}/%40name/video/{{id}}?utm_source=chatgpt.com",
    f"{WWW}/pt-BR/@name/video/{{id}}",
    f"{WWW}/@name/video/{{id}}&is_from_webapp=1",
    f"{WWW}/foryou?is_copy_url=1&item_id={{id}}",
    f"{WWW}/?share_item_id={{id}}&_r=1",
    "https://t.tiktok.com/i18n/share/video/{id}/?_d=x&share_item_id={id}",
    f"\ufeff{WWW}/@name/video/{{id}}\u200b\r\n",
    f"[a video](<{WWW}/@name/video/{{id}}>)",
    f"https://vm.tiktok.com/{{video}}/ {LITE} {WWW}/tiktoklite",
    "https://vm.tiktok.com/{lite}/",
    "https://vm.tiktok.com/{escaped}/",
    "https://vm.tiktok.com/{shared}/",
    "https://vm.tiktok.com/{browser}/",
    "https://vm.tiktok.com/{app}/",
    "https://vm.tiktok.com/{wall}/",
)
"""The forms of research/ytdlp.md 1.1 that name one post; each is requested with its own video."""


def url_of_form(form: str, video: str) -> str:
    codes = {kind: short_code(video, kind) for kind in KINDS}
    return form.format(id=video, **codes)


VIDEOS = {f"form-{place}": small(place) for place in range(len(VIDEO_FORMS))}
URLS = {
    name: url_of_form(form, video)
    for (name, video), form in zip(VIDEOS.items(), VIDEO_FORMS, strict=True)
}

PASTED = [
    row
    for row in LINK_FORMS
    if row.reason
    or row.expected == f"tiktok:{ID}"
    or (row.expected.startswith("short:") and CODE in row.expected)
]
"""All but listings, which cannot be batch members, and platforms that the stand-in lacks."""


def pasted(text: str) -> str:
    return text.replace(ID, small(0)).replace(CODE, short_code(small(0)))


REFUSED: dict[str, tuple[str, str, str, str]] = {
    "live": (f"{WWW}/@name/live", "rejected", "content.unsupported", "live streams are not"),
    "live-share": (
        f"https://m.tiktok.com/share/live/{small(1)}",
        "rejected",
        "content.unsupported",
        "live streams are not recorded",
    ),
    "live-short": (
        f"https://vm.tiktok.com/{short_code(small(1), 'live')}/",
        "failed",
        "content.unsupported",
        "live streams are not recorded",
    ),
    "playlist": (f"{WWW}/@name/playlist/a-7", "rejected", "content.unsupported", "no extractor"),
    "music": (f"{WWW}/music/a-7", "rejected", "content.unsupported", "a music page"),
    "effect": (f"{WWW}/sticker/a-7", "rejected", "content.unsupported", "an effect page"),
    "tag": (f"{WWW}/tag/cats", "rejected", "content.unsupported", "a tag page"),
    "home": (WWW, "rejected", "content.unsupported", "the home page"),
    "nobody": (f"{WWW}/@_", "rejected", "request.invalid", "user name is not valid"),
    "sec-uid": (f"tiktokuser:{SEC_UID}", "rejected", "request.invalid", "neither https nor http"),
    "no-id": (f"{WWW}/@name/photo/0", "rejected", "request.invalid", "not a number from 1"),
    "removed": (page(video_id("deleted")), "failed", "content.not_found", "it was deleted"),
    "not-found-page": (page(video_id("notfound")), "failed", "content.not_found", "not-found page"),
    "shop": (page(video_id("shop")), "failed", "content.no_formats", "it is a shop post"),
    "ad": (page(video_id("ad")), "failed", "content.no_formats", "it is an ad"),
    "story-over": (
        f"{WWW}/@name/story/{video_id('noitem')}",
        "failed",
        "content.not_found",
        "stories last 24 hours",
    ),
}

PHOTOS = video_id("photo", param=12)
MUTE = video_id("photo.mute", param=2)
ONE_HOST = video_id("photo.onehost")
SLIDESHOW = video_id("slideshow")
MOVED = video_id("moved")
CHALLENGED = video_id("challenge.any")
GAP = video_id("photo.gap")
LIVE = video_id("photo.live")

POSTS: dict[str, dict[str, Any]] = {
    "photos": {"url": f"{WWW}/@name/photo/{PHOTOS}"},
    "photos-info": {"url": page(video_id("photo", param=35)), "action": "info"},
    "photos-mute": {"url": page(MUTE)},
    "photos-music": {"url": page(video_id("photo", serial=2)), "options": {"audio_only": True}},
    "photos-one-host": {"url": page(ONE_HOST)},
    "moved": {"url": page(MOVED)},
    "challenged": {"url": page(CHALLENGED)},
    "photos-gap": {"url": page(GAP)},
    "photos-gap-whole": {"url": page(GAP), "options": {"degrade": False}},
    "photos-live": {"url": page(LIVE)},
    "photos-no-video": {"url": page(PHOTOS), "options": {"container": "mp4"}},
    "slideshow": {"url": page(SLIDESHOW)},
    "slideshow-video": {"url": page(SLIDESHOW), "options": {"container": "mp4"}},
}

COLLECTION = video_id("collection", param=70)
LISTINGS: dict[str, dict[str, Any]] = {
    "profile": {"url": f"{WWW}/@anna", "action": "list", "options": {"limit": 20}},
    "profile-whole": {
        "url": f"https://vm.tiktok.com/{short_code(small(1), 'profile')}/",
        "action": "list",
        "options": {"limit": 1000},
    },
    "profile-escaped": {"url": f"{WWW}/%40anna&lang=en", "action": "list"},
    "profile-number": {"url": f"{WWW}/share/user/{small(1)}", "action": "list"},
    "profile-number-h5": {
        "url": f"See https://m.tiktok.com/h5/share/usr/{small(1)}.html!",
        "action": "list",
    },
    "profile-number-short": {
        "url": f"https://vm.tiktok.com/{short_code(small(1), 'account')}/",
        "action": "list",
    },
    "profile-empty": {"url": f"{WWW}/@{user_name('profile.empty')}", "action": "list"},
    "collection": {
        "url": f"{WWW}/@anna/collection/cats-{COLLECTION}",
        "action": "list",
        "options": {"limit": 65},
    },
    "profile-files": {"url": f"{WWW}/@bob", "options": {"limit": 3}},
    "profile-missing": {"url": f"{WWW}/@{user_name('profile.missing')}", "action": "list"},
    "profile-private": {"url": f"{WWW}/@{user_name('profile.private')}", "action": "list"},
}


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def requests_published(pipeline: PipelineProcess) -> AsyncIterator[None]:
    """Publish all requests at once; each test waits for its own outcomes."""
    requests: list[dict[str, Any]] = [{"id": name, "url": url} for name, url in URLS.items()]
    requests += [{"id": name, "url": row[0]} for name, row in REFUSED.items()]
    requests += [{"id": name, **request} for name, request in (POSTS | LISTINGS).items()]
    batch = {"id": "pasted", "urls": [pasted(row.text) for row in PASTED], "action": "info"}
    await pipeline.publish(*requests, batch)
    yield


async def completed(client: PipelineClient, name: str) -> Message:
    outcome = await client.outcome(name)
    assert outcome["status"] == "completed", outcome
    return outcome


@pytest.mark.parametrize(("name", "video"), VIDEOS.items(), ids=VIDEO_FORMS)
async def test_each_link_form_resolves_to_its_video(
    name: str, video: str, client: PipelineClient
) -> None:
    outcome = await completed(client, name)
    (file,) = outcome["files"]
    assert outcome["url"] == URLS[name]
    expected = expected_media(video, file["format_id"])
    assert (outcome["video"]["id"], outcome["video"]["content"]) == (video, "video")
    assert (file["bytes"], file["sha256"]) == (expected.size, expected.sha256)
    assert file["uri"].endswith(f"/tiktok/{video}/{video}.{file['format_id']}.mp4")


async def test_each_pasted_text_is_accepted_or_rejected_separately(client: PipelineClient) -> None:
    summary = await client.summary("pasted")
    assert summary["counts"]["completed"] == sum(row.is_accepted for row in PASTED)
    wrong = {}
    for place, row in enumerate(PASTED):
        outcome = await client.outcome(f"pasted/{place}")
        error = outcome.get("error") or {}
        meaning = error.get("error_type") or outcome["video"]["id"]
        if meaning != (small(0) if row.is_accepted else row.expected):
            wrong[row.text] = meaning
        assert outcome["url"] == clip(pasted(row.text))
        assert row.reason in error.get("technical_details", {}).get("reason", "")
    assert wrong == {}


@pytest.mark.parametrize("name", REFUSED)
async def test_link_without_a_post_names_the_reason(name: str, client: PipelineClient) -> None:
    _, status, code, message = REFUSED[name]
    outcome = await client.outcome(name)
    assert (outcome["status"], outcome["error"]["error_type"]) == (status, code), outcome
    assert message in outcome["error"]["user_message"]
    assert not outcome.get("files")


async def test_redirect_to_another_id_is_reported(client: PipelineClient) -> None:
    outcome = await completed(client, "moved")
    (file,) = outcome["files"]
    video = outcome["video"]
    assert (video["id"], video["redirected_to"]) == (MOVED, moved_id(MOVED))
    assert file["sha256"] == expected_media(moved_id(MOVED), file["format_id"]).sha256


async def test_solved_challenge_is_counted_and_timed(client: PipelineClient) -> None:
    outcome = await completed(client, "challenged")
    assert (outcome["attempts"], client.request_counts(CHALLENGED)["page"]) == (1, 2)
    metrics = await client.metrics()
    assert metrics["clipmill_engine_challenge_seconds_count"] >= 1
    assert metrics["clipmill_engine_challenge_seconds_sum"] > 0
    assert metrics["clipmill_engine_native_proof_of_work"] in {0, 1}


async def test_photo_post_returns_all_pictures_and_music(client: PipelineClient) -> None:
    outcome = await completed(client, "photos")
    *pictures, music = outcome["files"]
    expected = expected_images(PHOTOS)
    assert [each["format_id"] for each in pictures] == [f"image-{n:02}" for n in range(1, 13)]
    assert [(each["bytes"], each["sha256"]) for each in pictures] == [
        (each.size, each.sha256) for each in expected
    ]
    assert {each["mime_type"] for each in pictures} == {"image/jpeg"}
    assert {(each["width"], each["height"]) for each in pictures} == {(1080, 1440)}
    assert music["sha256"] == expected_media(PHOTOS, "audio").sha256
    assert outcome["video"]["content"] == "photos"
    assert len({each["uri"] for each in outcome["files"]}) == 13
    assert client.request_counts(PHOTOS) == {"page": 1, "image": 12, "media": 1}


async def test_metadata_of_a_photo_post_lists_its_pictures(client: PipelineClient) -> None:
    video = (await completed(client, "photos-info"))["video"]
    places = [each["picture"] for each in video["formats"] if each["picture"]]
    assert video["content"] == "photos"
    assert sorted(set(places)) == list(range(1, 36))
    assert [each["format_id"] for each in video["formats"] if not each["picture"]] == ["audio"]


@pytest.mark.parametrize(
    ("name", "formats"),
    [
        ("photos-mute", ["image-01", "image-02"]),
        ("photos-music", ["audio"]),
        ("slideshow", ["image-01", "image-02", "image-03", "audio"]),
        ("slideshow-video", ["h264_1080p_1600000-0"]),
    ],
)
async def test_photo_post_variant_returns_its_files(
    name: str, formats: list[str], client: PipelineClient
) -> None:
    assert [each["format_id"] for each in (await completed(client, name))["files"]] == formats


async def test_picture_without_url_makes_the_result_partial(client: PipelineClient) -> None:
    outcome = await completed(client, "photos-gap")
    assert [each["format_id"] for each in outcome["files"]] == ["image-01", "image-03"]
    assert (outcome["partial"], outcome["video"]["missing_pictures"]) == (True, [2])
    assert (await completed(client, "photos"))["partial"] is False


async def test_live_photo_has_a_motion_file(client: PipelineClient) -> None:
    *pictures, motion = (await completed(client, "photos-live"))["files"]
    assert [each["format_id"] for each in pictures] == ["image-01", "image-02"]
    assert (motion["format_id"], motion["mime_type"]) == ("motion-02", "video/mp4")
    assert motion["sha256"] == expected_media(LIVE, "motion").sha256
    assert motion["duration_seconds"] == 5.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photos-gap-whole", "no address for picture 2, and degrade is off"),
        ("photos-no-video", "a photo post without a video"),
    ],
)
async def test_unsatisfiable_options_of_a_photo_post_fail(
    name: str, message: str, client: PipelineClient
) -> None:
    outcome = await client.outcome(name)
    assert (outcome["status"], outcome["error"]["error_type"]) == ("failed", "content.no_formats")
    assert message in outcome["error"]["user_message"]


async def test_pictures_missing_on_one_host_are_fetched_from_another(
    client: PipelineClient,
) -> None:
    outcome = await completed(client, "photos-one-host")
    assert [(each["format_id"], each["sha256"]) for each in outcome["files"]] == [
        (f"image-{place:02}-2", each.sha256)
        for place, each in enumerate(expected_images(ONE_HOST), start=1)
    ]
    strategies = [each["strategy"] for each in outcome["recovery"]]
    assert strategies == ["fresh_extraction", "other_format"]


@pytest.mark.parametrize(
    ("name", "owner", "count", "complete"),
    [
        ("profile", "anna", 20, False),
        ("collection", COLLECTION, 65, False),
        ("profile-empty", "", 0, True),
    ],
)
async def test_listing_returns_its_posts(
    name: str, owner: str, count: int, complete: bool, client: PipelineClient
) -> None:
    outcome = await completed(client, name)
    listing = outcome["listing"]
    assert [post["id"] for post in listing["entries"]] == [
        post.video_id for post in posts_from(owner, count, 0, count)
    ]
    assert listing["complete"] is complete
    assert (outcome["members"], outcome["files"]) == (0, [])


async def test_short_link_resolves_to_a_profile(client: PipelineClient) -> None:
    listing = (await completed(client, "profile-whole"))["listing"]
    assert (listing["kind"], len(listing["entries"]), listing["complete"]) == ("profile", 25, True)
    assert listing["id"].startswith("clip.maker")


@pytest.mark.parametrize(
    "name", ["profile-number", "profile-number-h5", "profile-number-short", "profile-escaped"]
)
async def test_other_link_forms_resolve_to_a_profile(name: str, client: PipelineClient) -> None:
    listing = (await completed(client, name))["listing"]
    author = "anna" if name == "profile-escaped" else post_for(small(1)).author
    assert (listing["kind"], listing["id"]) == ("profile", author)


async def test_posts_of_a_profile_are_downloaded(client: PipelineClient) -> None:
    outcome = await completed(client, "profile-files")
    expected = [post.video_id for post in posts_from("bob", 3, 0, 3)]
    assert [post["id"] for post in outcome["listing"]["entries"]] == expected
    assert outcome["members"] == 3
    members = [await completed(client, f"profile-files/{index}") for index in range(3)]
    assert [each["video"]["id"] for each in members] == expected
    assert all(each["files"] for each in members)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("profile-missing", "content.not_found", "does not exist"),
        ("profile-private", "content.private", "the account is private"),
    ],
)
async def test_unavailable_profile_fails_with_its_code(
    name: str, code: str, message: str, client: PipelineClient
) -> None:
    outcome = await client.outcome(name)
    assert (outcome["status"], outcome["error"]["error_type"]) == ("failed", code), outcome
    assert message in outcome["error"]["user_message"]
