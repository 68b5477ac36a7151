"""From a URL to a result, as a client sees it: every form of link, every option, every ending.

All requests are published when the first test begins; each test waits for its own outcomes.
"""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import pytest_asyncio

from streams.topics import AUDIT, DELAYS, PROGRESS
from tests.acceptance.desk import Desk, Message, page, planned_wait
from tests.house import House
from tests.standin import short_code, user_name, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def small(serial: int) -> str:
    """Return a video of 16 KiB."""
    return video_id("kilobytes", param=16, serial=serial)


FORMS: dict[str, Callable[[str], str]] = {
    "full": lambda v: page(v, "clip.maker"),
    "without a user": lambda v: page(v, ""),
    "without a scheme": lambda v: f"www.tiktok.com/@name/video/{v}",
    "over http": lambda v: f"http://www.tiktok.com/@name/video/{v}",
    "with tracking": lambda v: f"{page(v)}?is_from_webapp=1&sender_device=pc#top",
    "with a slash": lambda v: f"{page(v)}/",
    "with spaces around": lambda v: f"  {page(v)} ",
    "in capitals": lambda v: f"HTTPS://WWW.TikTok.COM/@name/video/{v}",
    "no www": lambda v: f"https://tiktok.com/@name/video/{v}",
    "m.": lambda v: f"https://m.tiktok.com/@name/video/{v}",
    "us.": lambda v: f"https://us.tiktok.com/@name/video/{v}",
    "lite.": lambda v: f"https://lite.tiktok.com/@name/video/{v}",
    "video": lambda v: f"https://www.tiktok.com/video/{v}",
    "embed": lambda v: f"https://www.tiktok.com/embed/{v}",
    "embed v2": lambda v: f"https://www.tiktok.com/embed/v2/{v}",
    "player v1": lambda v: f"https://www.tiktok.com/player/v1/{v}?music_info=1",
    "v html": lambda v: f"https://m.tiktok.com/v/{v}.html",
    "share": lambda v: f"https://www.tiktokv.com/share/video/{v}/",
    "vm": lambda v: f"https://vm.tiktok.com/{short_code(v)}/",
    "vt": lambda v: f"https://vt.tiktok.com/{short_code(v)}",
    "t": lambda v: f"https://www.tiktok.com/t/{short_code(v)}/",
    "t without www": lambda v: f"https://tiktok.com/t/{short_code(v)}/",
    "vm over two redirects": lambda v: f"https://vm.tiktok.com/{short_code(v, 'chain')}/",
}
FORM_VIDEOS = {name: small(100 + number) for number, name in enumerate(FORMS)}

QUALITIES = {"best": 1080, "1080p": 1080, "720p": 720, "480p": 576, "360p": 576, "worst": 576}
"""Smaller side of the file; the smallest that the stand-in has is 576."""

ENDINGS = {
    "deleted": "content.not_found",
    "page.404": "content.not_found",
    "private": "content.private",
    "privateaccount": "content.private",
    "selfsee": "content.private",
    "region": "content.geo_blocked",
    "withheld": "content.geo_blocked",
    "page.451": "content.geo_blocked",
    "age": "content.age_restricted",
    "login": "content.login_required",
    "noformats": "content.no_formats",
    "unplayable": "content.no_formats",
    "watermarked": "content.no_formats",
    "page.huge": "content.unsupported",
    "media.404": "content.link_expired",
}

ODD_BUT_GOOD = ("landscape", "silent", "mismatch", "hostile", "media.norange", "media.unsized")

BATCH = (page(small(1)), "https://example.com/not/ours", page(small(2)))

ONE_OFFS: dict[str, dict[str, Any]] = {
    "server-error-twice": {"url": page(video_id("page.503", times=2))},
    "wait-three-seconds": {"url": page(video_id("page.429after", param=3, times=1))},
    "progress": {"url": page(video_id("media.takes", param=3))},
    "cut-once": {"url": page(video_id("media.truncated", times=1))},
    "reset-once": {"url": page(video_id("media.reset", times=1))},
    "replaced": {"url": page(video_id("media.changed"))},
    "refused-once": {"url": page(video_id("media.403", times=1))},
    "sound": {"url": page(small(3)), "options": {"audio_only": True}},
    "song": {"url": page(small(3)), "options": {"audio_only": True, "audio": "song"}},
    "h265": {"url": page(video_id(serial=4)), "options": {"codec": "h265", "quality": "720p"}},
    "watermark": {
        "url": page(video_id("watermarked", serial=5)),
        "options": {"watermark": "allow"},
    },
    "tiny": {"url": page(video_id(serial=6)), "options": {"max_bytes": 1000}},
    "tiny-and-exact": {
        "url": page(video_id(serial=6)),
        "options": {"max_bytes": 1000, "degrade": False},
    },
    "affordable": {"url": page(video_id(serial=7)), "options": {"max_bytes": 700_000}},
    "exact": {"url": page(video_id(serial=8)), "options": {"quality": "360p", "degrade": False}},
    "live-link": {"url": "https://www.tiktok.com/@name/live"},
    "live-short": {"url": f"https://vm.tiktok.com/{short_code(video_id(serial=10), 'live')}/"},
    "dead-link": {"url": f"https://vm.tiktok.com/{short_code(video_id(serial=11), 'dead')}/"},
    "by-user": {"url": page(video_id(serial=12), user_name("deleted"))},
    "echo": {
        "url": page(small(13)),
        "priority": 9,
        "attributes": {"case": "7/b", "who": "Ωmega \n"},
        "retry_of": "an earlier one",
    },
    "too-late": {"url": page(small(14)), "deadline": "2001-01-01T00:00:00Z"},
    "hungry": {"url": page(small(15)), "action": "info"},
    "batch": {"urls": BATCH, "attributes": {"list": "a"}},
}


def requests() -> list[dict[str, Any]]:
    """Return every request of this module but those with headers, what takes longest first."""
    asked = [{"id": name, **fields} for name, fields in ONE_OFFS.items()]
    asked += [
        {"id": f"form-{action}-{number}", "url": write(FORM_VIDEOS[name]), "action": action}
        for number, (name, write) in enumerate(FORMS.items())
        for action in ("info", "download")
    ]
    asked += [
        {"id": f"quality-{quality}", "url": page(video_id()), "options": {"quality": quality}}
        for quality in QUALITIES
    ]
    asked += [{"id": f"is-{name}", "url": page(video_id(name))} for name in ENDINGS]
    return asked + [{"id": f"is-{name}", "url": page(video_id(name))} for name in ODD_BUT_GOOD]


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def _asked(house: House) -> None:
    """Every test of this module finds everything asked."""
    await house.publish(*requests())


async def ended(desk: Desk, request_id: str, status: str = "completed") -> Message:
    result = await desk.outcome(request_id)
    assert result["status"] == status, result
    return result


def path_of(file: Message) -> Path:
    return Path(unquote(urlsplit(file["uri"]).path))


def check_file(house: House, result: Message) -> Message:
    """The one file of a result is where it must be, and holds the stand-in's bytes."""
    file: Message
    (file,) = result["files"]
    video, path = result["video"], path_of(file)
    where = house.data_dir / "files" / "tiktok" / video["id"]
    assert path == where / f"{video['id']}.{file['format_id']}{path.suffix}"
    content = path.read_bytes()
    wanted = house.standin.media(video["id"], file["format_id"])
    assert len(content) == file["bytes"] == wanted["size"]
    assert hashlib.sha256(content).hexdigest() == file["sha256"] == wanted["sha256"]
    return file


# Links


@pytest.mark.parametrize("name", FORMS)
async def test_every_form_of_link_leads_to_the_video_and_its_file(
    name: str, desk: Desk, house: House
) -> None:
    number, video = list(FORMS).index(name), FORM_VIDEOS[name]
    info = await ended(desk, f"form-info-{number}")
    download = await ended(desk, f"form-download-{number}")
    for result in (info, download):
        assert result["url"] == FORMS[name](video)
        assert result["video"]["id"] == video
        assert urlsplit(result["video"]["url"]).path.endswith(f"/video/{video}")
        assert result["attempts"] == 1
    assert info["files"] == []
    assert info["video"]["title"]
    assert info["video"]["formats"]
    assert check_file(house, download)["mime_type"] == "video/mp4"
    assert desk.counts(video)["page"] == 1


async def test_a_batch_has_an_outcome_for_each_member(desk: Desk, house: House) -> None:
    members = [await desk.outcome(f"batch/{index}") for index in range(len(BATCH))]
    assert [each["status"] for each in members] == ["completed", "rejected", "completed"]
    assert [each["batch_index"] for each in members] == [0, 1, 2]
    assert {(each["batch_id"], each["batch_size"]) for each in members} == {("batch", 3)}
    assert [each["url"] for each in members] == list(BATCH)
    assert all(each["attributes"] == {"list": "a"} for each in members)
    error = members[1]["error"]
    assert error["error_type"] == "content.unsupported"
    assert error["technical_details"]["field"] == "$.urls[1]"
    assert "example.com" in error["user_message"]
    check_file(house, members[0])


# Options


@pytest.mark.parametrize("quality", QUALITIES)
async def test_quality_is_the_smaller_side(quality: str, desk: Desk, house: House) -> None:
    result = await ended(desk, f"quality-{quality}")
    file = check_file(house, result)
    assert min(file["width"], file["height"]) == QUALITIES[quality]


async def test_sound_alone(desk: Desk, house: House) -> None:
    song = check_file(house, await ended(desk, "song"))
    (sound,) = (await ended(desk, "sound"))["files"]
    for file in (song, sound):
        assert (file["mime_type"], file["codec"]) == ("audio/mp4", "aac")
        assert path_of(file).suffix == ".m4a"
        assert file["width"] is None
    assert (song["song"], sound["song"]) == (True, False)
    assert path_of(sound).name.endswith(f".{sound['format_id']}~sound.m4a")
    content = path_of(sound).read_bytes()
    assert len(content) == sound["bytes"]
    assert hashlib.sha256(content).hexdigest() == sound["sha256"]


async def test_another_codec(desk: Desk, house: House) -> None:
    file = check_file(house, await ended(desk, "h265"))
    assert (file["codec"], file["width"]) == ("h265", 720)


async def test_a_watermark_is_taken_only_when_allowed(desk: Desk, house: House) -> None:
    assert check_file(house, await ended(desk, "watermark"))["watermarked"]
    refused = await ended(desk, "is-watermarked", "failed")
    assert "watermark=allow" in refused["error"]["user_message"]


async def test_a_byte_limit_chooses_a_smaller_file_or_says_why_not(
    desk: Desk, house: House
) -> None:
    file = check_file(house, await ended(desk, "affordable"))
    assert (file["width"], file["bytes"] < 700_000) == (720, True)
    refused = await ended(desk, "tiny", "rejected")
    assert refused["error"]["error_type"] == "request.too_large"
    assert "1000 bytes" in refused["error"]["user_message"]
    assert "max_bytes" in refused["error"]["suggested_actions"][0]
    exact = await ended(desk, "tiny-and-exact", "rejected")
    assert exact["error"]["technical_details"]["field"] == "options.max_bytes"
    assert "max_bytes is 1000" in exact["error"]["user_message"]


async def test_no_other_quality_is_taken_against_the_clients_will(desk: Desk) -> None:
    refused = await ended(desk, "exact", "failed")
    assert refused["error"]["error_type"] == "content.no_formats"
    assert "360p" in refused["error"]["user_message"]
    assert "h264_540p" in refused["error"]["technical_details"]["offered"]


# Endings


@pytest.mark.parametrize("name", ENDINGS)
async def test_what_cannot_be_had_fails_at_once_and_helpfully(
    name: str, desk: Desk, house: House
) -> None:
    result = await ended(desk, f"is-{name}", "failed")
    error = result["error"]
    assert error["error_type"] == ENDINGS[name]
    assert error["url"] == page(video_id(name))
    assert error["user_message"].endswith(".")
    assert error["suggested_actions"]
    assert error["operation"] in {"extraction", "selection", "download"}
    assert "signature=" not in json.dumps(error)
    assert result["attempts"] == (12 if name == "media.404" else 1)
    assert not (house.data_dir / "files" / "tiktok" / video_id(name)).exists()


async def test_a_live_stream_is_refused_with_what_would_work(desk: Desk) -> None:
    for name, status in {"live-link": "rejected", "live-short": "failed"}.items():
        error = (await ended(desk, name, status))["error"]
        assert error["error_type"] == "content.unsupported"
        assert "live streams are not recorded" in error["user_message"]
        assert "single post" in error["suggested_actions"][0]


async def test_a_dead_link_is_not_found(desk: Desk) -> None:
    error = (await ended(desk, "dead-link", "failed"))["error"]
    assert error["error_type"] == "content.not_found"


@pytest.mark.parametrize("name", ODD_BUT_GOOD)
async def test_odd_videos_are_had_all_the_same(name: str, desk: Desk, house: House) -> None:
    result = await ended(desk, f"is-{name}")
    check_file(house, result)
    assert "\x1b" not in json.dumps(result["video"]["title"], ensure_ascii=False)


# Failures on the way


async def test_cut_transfers_are_resumed(desk: Desk, house: House) -> None:
    for name in ("cut-once", "reset-once"):
        result = await ended(desk, name)
        check_file(house, result)
        assert desk.counts(result["video"]["id"]) == {"page": 1, "media": 2}


async def test_a_file_that_was_replaced_meanwhile_is_one_or_the_other(desk: Desk) -> None:
    (file,) = (await ended(desk, "replaced"))["files"]
    content = await asyncio.to_thread(path_of(file).read_bytes)
    assert hashlib.sha256(content).hexdigest() == file["sha256"]


async def test_a_refused_file_is_had_after_reading_the_page_anew(desk: Desk, house: House) -> None:
    result = await ended(desk, "refused-once")
    check_file(house, result)
    assert result["attempts"] == 2
    assert [each["code"] for each in result["recovery"]] == ["content.link_expired"]
    assert desk.counts(result["video"]["id"]) == {"page": 2, "media": 2}


async def test_the_platform_says_how_long_to_wait(desk: Desk) -> None:
    result = await ended(desk, "wait-three-seconds")
    assert [each["code"] for each in result["recovery"]] == ["rate_limit.api"]
    (step,) = await desk.messages(AUDIT, request_id="wait-three-seconds", step="recovery")
    assert planned_wait(step) == pytest.approx(3, abs=0.1)
    first, second = desk.asked_at(result["video"]["id"])
    assert second - first >= planned_wait(step)


async def test_two_server_errors_cost_two_waits_in_kafka(desk: Desk, house: House) -> None:
    result = await desk.outcome("server-error-twice", 60)
    check_file(house, result)
    assert result["attempts"] == 3
    steps = [(each["step"], each["code"], each["counted"]) for each in result["recovery"]]
    assert steps == [("extraction", "network.server", True)] * 2
    waits = [later - sooner for sooner, later in pairwise(desk.asked_at(result["video"]["id"]))]
    records = await desk.messages(AUDIT, request_id="server-error-twice", step="recovery")
    planned = [planned_wait(step) for step in sorted(records, key=lambda each: str(each["at"]))]
    assert [5 <= planned[0] <= 6.3, 30 <= planned[1] <= 37.6] == [True, True], planned
    assert [wait >= least for wait, least in zip(waits, planned, strict=True)] == [True, True]
    key = f"tiktok:{result['video']['id']}".encode()
    parked = [record.topic for record in await desk.records(*DELAYS) if record.key == key]
    assert len(parked) == 2


# Deadlines


async def test_what_comes_too_late_is_not_begun(desk: Desk) -> None:
    result = await ended(desk, "too-late", "expired")
    assert result["error"]["error_type"] == "request.expired"
    assert result["attempts"] == 0
    assert desk.counts(small(14)) == {}


# What is told


async def test_the_clients_own_words_come_back(desk: Desk) -> None:
    result = await ended(desk, "echo")
    assert result["attributes"] == ONE_OFFS["echo"]["attributes"]
    assert result["retry_of"] == "an earlier one"
    assert (result["batch_id"], result["batch_index"], result["batch_size"]) == (None,) * 3
    assert set(result["timings"]) == {"validation", "extraction", "selection", "download"}
    assert result["engine"]["yt_dlp"]
    assert result["engine"]["curl_cffi"]


async def test_a_request_without_an_id_is_named_after_its_place(house: House) -> None:
    url = page(small(16))
    await house.publish({"url": url, "action": "info"})
    async with asyncio.timeout(20):
        while not (named := await named_results(house, url)):
            await house.read_results(0.1)
    assert named[0].startswith("requests-")


async def named_results(house: House, url: str) -> list[str]:
    seen = await house.read_results(0)
    return [name for name, results in seen.items() if results[0]["url"] == url]


async def test_binary_cloud_events_with_a_trace(desk: Desk, house: House) -> None:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "event-1",
        "ce_source": "/tests",
        "ce_type": "com.example.wish",
        "content-type": "application/json",
        "traceparent": PARENT,
    }
    body = json.dumps({"id": "binary", "url": page(small(17))}).encode()
    await house.publish_raw(body, headers=encoded(headers))
    assert (await ended(desk, "binary"))["trace_id"] == TRACE
    told = [r for r in await desk.records(AUDIT) if r.key == b"binary"]
    assert len(told) == 4
    for record in told:
        assert dict(record.headers)["traceparent"].split(b"-")[1] == TRACE.encode()
    assert dict(told[0].headers)["ce_causationid"] == b"event-1"


async def test_structured_cloud_events_with_a_deadline(desk: Desk, house: House) -> None:
    event = {
        "specversion": "1.0",
        "id": "event-2",
        "source": "/tests",
        "type": "com.example.wish",
        "traceparent": PARENT,
        "data": {"id": "structured", "url": page(small(18))},
    }
    over = {"id": "over", "url": page(small(18))}
    late = {**event, "expirytime": "2001-01-01T00:00:00Z", "data": over}
    kind = encoded({"content-type": "application/cloudevents+json; charset=UTF-8"})
    for each in (event, late):
        await house.publish_raw(json.dumps(each).encode(), headers=kind)
    assert (await ended(desk, "structured"))["trace_id"] == TRACE
    await ended(desk, "over", "expired")


def encoded(headers: dict[str, str]) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in headers.items()]


async def test_progress_is_told_at_most_twice_a_second_and_never_backwards(desk: Desk) -> None:
    result = await ended(desk, "progress")
    told = await desk.messages(PROGRESS, request_id="progress")
    assert 3 <= len(told) <= 8
    sizes = [each["bytes"] for each in told]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == told[-1]["total_bytes"] == result["files"][0]["bytes"]
    moments = [datetime.fromisoformat(each["at"]) for each in told]
    per_second = Counter(int((moment - moments[0]).total_seconds()) for moment in moments[:-1])
    assert max(per_second.values()) <= 2
    assert told[-1]["eta_seconds"] == 0


async def test_nothing_is_left_in_the_workshop(desk: Desk, house: House) -> None:
    await desk.wait_for([request["id"] for request in requests() if "url" in request], 60)
    left = [path for path in (house.data_dir / "tmp").rglob("*") if path.name.startswith("job-")]
    assert left == []
    metrics = await desk.metrics()
    assert metrics["clipmill_stage_bugs_total"] == metrics["clipmill_stage_restarts_total"] == 0
    assert house.standin.counters()["refused_hosts"] == {}
