from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.platforms.tiktok.page import IMAGES_MAX, SIDE_MAX, URLS_MAX, read_images

pytestmark = pytest.mark.untraced

URL = "https://p16.tiktokcdn.com/a.jpeg"


def image(*urls: Any, **more: Any) -> dict[str, Any]:
    return {"imageURL": {"urlList": list(urls)}, **more}


def item(*images: Any) -> dict[str, Any]:
    return {"imagePost": {"images": list(images)}}


def test_pictures_are_read_in_order_with_all_urls() -> None:
    post = item(image("https://a/1", "http://b/1", imageWidth=1080, imageHeight=1440), image(URL))
    assert read_images(post) == [
        {"urls": ["https://a/1", "http://b/1"], "width": 1080, "height": 1440, "motion": []},
        {"urls": [URL], "width": None, "height": None, "motion": []},
    ]


@pytest.mark.parametrize(
    "post",
    [
        None,
        [],
        "text",
        {},
        {"imagePost": None},
        {"imagePost": []},
        {"imagePost": {}},
        {"imagePost": {"images": None}},
        {"imagePost": {"images": {"0": image(URL)}}},
        {"imagePost": {"images": "text"}},
        item(),
    ],
    ids=repr,
)
def test_other_posts_have_no_pictures(post: Any) -> None:
    assert read_images(post) == []


@pytest.mark.parametrize(
    "invalid",
    [
        None,
        5,
        "text",
        [],
        {},
        {"imageURL": None},
        {"imageURL": {"urlList": URL}},
        {"imageURL": [URL]},
        {"imageURL": {"urlList": []}},
    ],
    ids=repr,
)
def test_picture_without_a_url_keeps_its_position(invalid: Any) -> None:
    assert [each["urls"] for each in read_images(item(image(URL), invalid, image(URL)))] == [
        *([URL], [], [URL])
    ]


MOTION = "https://v16.tiktokcdn.com/a.mp4"
OTHER = "https://v19.tiktokcdn.com/b.mp4"


@pytest.mark.parametrize(
    ("fields", "urls"),
    [
        ({"video": {"playAddr": MOTION}}, [MOTION]),
        ({"video": {"playAddr": {"urlList": [MOTION, OTHER]}}}, [MOTION, OTHER]),
        ({"video": {"urlList": [MOTION]}}, [MOTION]),
        ({"livePhoto": {"video": {"playAddr": MOTION}}}, [MOTION]),
        ({"livePhoto": {"urlList": [MOTION]}}, [MOTION]),
        (
            {
                "video": {
                    "bitrateInfo": [
                        {"PlayAddr": {"UrlList": [OTHER], "Width": 360}},
                        {"PlayAddr": {"UrlList": [MOTION], "Width": 720}},
                        {"PlayAddr": {"UrlList": [], "Width": 1080}},
                        None,
                    ],
                    "playAddr": OTHER,
                }
            },
            [MOTION, OTHER],
        ),
        ({"video": {"playAddr": ""}}, []),
        ({"video": {"playAddr": "file:///etc/passwd"}}, []),
        ({"video": None, "livePhoto": []}, []),
        ({"video": {"bitrateInfo": {"0": MOTION}}}, []),
        ({"video": {"urlList": [MOTION] * 1_000}}, [MOTION] * URLS_MAX),
    ],
)
def test_live_photo_has_a_motion_file(fields: Any, urls: list[str]) -> None:
    (found,) = read_images(item(image(URL, **fields)))
    assert (found["urls"], found["motion"]) == ([URL], urls)


@pytest.mark.parametrize(
    "url",
    [
        None,
        5,
        [URL],
        "",
        "file:///etc/passwd",
        "data:image/png;base64,x",
        "javascript:alert(1)",
        "//p16.tiktokcdn.com/a.jpeg",
        "ftp://a/1",
        " https://a/1",
        "https://a/" + "x" * 5_000,
    ],
)
def test_invalid_url_is_dropped(url: Any) -> None:
    assert read_images(item(image(url)))[0]["urls"] == []
    assert read_images(item(image(url, URL)))[0]["urls"] == [URL]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (1, 1),
        (1080, 1080),
        (SIDE_MAX, SIDE_MAX),
        (SIDE_MAX + 1, None),
        (0, None),
        (-5, None),
        (True, None),
        ("1080", None),
        (10.5, None),
        (None, None),
        ([], None),
    ],
)
def test_sides_are_integers_within_range(pixels: Any, expected: int | None) -> None:
    found = read_images(item(image(URL, imageWidth=pixels, imageHeight=pixels)))
    assert found == [{"urls": [URL], "width": expected, "height": expected, "motion": []}]


def test_numbers_of_pictures_and_urls_are_bounded() -> None:
    found = read_images(item(*(image(*[URL] * 1_000) for _ in range(1_000))))
    assert len(found) == IMAGES_MAX
    assert {len(each["urls"]) for each in found} == {URLS_MAX}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("imagePost", "images", "imageURL", "urlList", "imageWidth", "x"),
                    *("video", "livePhoto", "playAddr", "bitrateInfo", "PlayAddr", "UrlList"),
                ]
            ),
            inner,
        )
    ),
)


@given(JSON)
def test_any_page_is_read(post: Any) -> None:
    for each in read_images(post):
        assert all(url.startswith(("https://", "http://")) for url in each["urls"] + each["motion"])
