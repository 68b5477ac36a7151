"""From a URL to a result, as a client sees it: every link form, option and outcome.

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
from tests.acceptance.client import Message, PipelineClient, page, planned_wait
from tests.pipeline_process import PipelineProcess
from tests.standin import short_code, user_name, video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def small(serial: int) -> str:
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
"""Smaller side of the file in pixels; the stand-in's smallest is 576."""

FAILURES = {
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

UNUSUAL_SCENARIOS = ("landscape", "silent", "mismatch", "hostile", "media.norange", "media.unsized")

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
    """Return all requests of this module without headers, the longest ones first."""
    records = [{"id": name, **fields} for name, fields in ONE_OFFS.items()]
    records += [
        {"id": f"form-{action}-{number}", "url": write(FORM_VIDEOS[name]), "action": action}
        for number, (name, write) in enumerate(FORMS.items())
        for action in ("info", "download")
    ]
    records += [
        {"id": f"quality-{quality}", "url": page(video_id()), "options": {"quality": quality}}
        for quality in QUALITIES
    ]
    records += [{"id": f"is-{name}", "url": page(video_id(name))} for name in FAILURES]
    return records + [
        {"id": f"is-{name}", "url": page(video_id(name))} for name in UNUSUAL_SCENARIOS
    ]


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def _requests_published(pipeline: PipelineProcess) -> None:
    """Publish all requests before any test of this module."""
    await pipeline.publish(*requests())


async def outcome_with_status(
    client: PipelineClient, request_id: str, status: str = "completed"
) -> Message:
    result = await client.outcome(request_id)
    assert result["status"] == status, result
    return result


def path_of(file: Message) -> Path:
    return Path(unquote(urlsplit(file["uri"]).path))


def check_file(pipeline: PipelineProcess, result: Message) -> Message:
    """Assert that a result's one file is at its path and holds the stand-in's bytes."""
    file: Message
    (file,) = result["files"]
    video, path = result["video"], path_of(file)
    folder = pipeline.data_dir / "files" / "tiktok" / video["id"]
    assert path == folder / f"{video['id']}.{file['format_id']}{path.suffix}"
    content = path.read_bytes()
    expected = pipeline.standin.media(video["id"], file["format_id"])
    assert len(content) == file["bytes"] == expected["size"]
    assert hashlib.sha256(content).hexdigest() == file["sha256"] == expected["sha256"]
    return file


# Links


@pytest.mark.parametrize("name", FORMS)
async def test_each_link_form_resolves_to_the_video_and_its_file(
    name: str, client: PipelineClient, pipeline: PipelineProcess
) -> None:
    number, video = list(FORMS).index(name), FORM_VIDEOS[name]
    info = await outcome_with_status(client, f"form-info-{number}")
    download = await outcome_with_status(client, f"form-download-{number}")
    for result in (info, download):
        assert result["url"] == FORMS[name](video)
        assert result["video"]["id"] == video
        assert urlsplit(result["video"]["url"]).path.endswith(f"/video/{video}")
        assert result["attempts"] == 1
    assert info["files"] == []
    assert info["video"]["title"]
    assert info["video"]["formats"]
    assert check_file(pipeline, download)["mime_type"] == "video/mp4"
    assert client.request_counts(video)["page"] == 1


async def test_batch_has_an_outcome_for_each_member(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    members = [await client.outcome(f"batch/{index}") for index in range(len(BATCH))]
    assert [each["status"] for each in members] == ["completed", "rejected", "completed"]
    assert [each["batch_index"] for each in members] == [0, 1, 2]
    assert {(each["batch_id"], each["batch_size"]) for each in members} == {("batch", 3)}
    assert [each["url"] for each in members] == list(BATCH)
    assert all(each["attributes"] == {"list": "a"} for each in members)
    error = members[1]["error"]
    assert error["error_type"] == "content.unsupported"
    assert error["technical_details"]["field"] == "$.urls[1]"
    assert "example.com" in error["user_message"]
    check_file(pipeline, members[0])


# Options


@pytest.mark.parametrize("quality", QUALITIES)
async def test_quality_selects_the_smaller_side(
    quality: str, client: PipelineClient, pipeline: PipelineProcess
) -> None:
    result = await outcome_with_status(client, f"quality-{quality}")
    file = check_file(pipeline, result)
    assert min(file["width"], file["height"]) == QUALITIES[quality]


async def test_audio_only_returns_an_audio_file(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    song = check_file(pipeline, await outcome_with_status(client, "song"))
    (sound,) = (await outcome_with_status(client, "sound"))["files"]
    for file in (song, sound):
        assert (file["mime_type"], file["codec"]) == ("audio/mp4", "aac")
        assert path_of(file).suffix == ".m4a"
        assert file["width"] is None
    assert (song["song"], sound["song"]) == (True, False)
    assert path_of(sound).name.endswith(f".{sound['format_id']}~sound.m4a")
    content = path_of(sound).read_bytes()
    assert len(content) == sound["bytes"]
    assert hashlib.sha256(content).hexdigest() == sound["sha256"]


async def test_codec_option_selects_the_codec(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    file = check_file(pipeline, await outcome_with_status(client, "h265"))
    assert (file["codec"], file["width"]) == ("h265", 720)


async def test_watermarked_file_is_selected_only_when_allowed(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    assert check_file(pipeline, await outcome_with_status(client, "watermark"))["watermarked"]
    failure = await outcome_with_status(client, "is-watermarked", "failed")
    assert "watermark=allow" in failure["error"]["user_message"]


async def test_max_bytes_selects_a_smaller_file_or_rejects(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    file = check_file(pipeline, await outcome_with_status(client, "affordable"))
    assert (file["width"], file["bytes"] < 700_000) == (720, True)
    failure = await outcome_with_status(client, "tiny", "rejected")
    assert failure["error"]["error_type"] == "request.too_large"
    assert "1000 bytes" in failure["error"]["user_message"]
    assert "max_bytes" in failure["error"]["suggested_actions"][0]
    exact = await outcome_with_status(client, "tiny-and-exact", "rejected")
    assert exact["error"]["technical_details"]["field"] == "options.max_bytes"
    assert "max_bytes is 1000" in exact["error"]["user_message"]


async def test_quality_without_degrade_fails_when_not_offered(client: PipelineClient) -> None:
    failure = await outcome_with_status(client, "exact", "failed")
    assert failure["error"]["error_type"] == "content.no_formats"
    assert "360p" in failure["error"]["user_message"]
    assert "h264_540p" in failure["error"]["technical_details"]["offered"]


# Permanent failures


@pytest.mark.parametrize("name", FAILURES)
async def test_permanent_failure_fails_without_retry_with_suggestions(
    name: str, client: PipelineClient, pipeline: PipelineProcess
) -> None:
    result = await outcome_with_status(client, f"is-{name}", "failed")
    error = result["error"]
    assert error["error_type"] == FAILURES[name]
    assert error["url"] == page(video_id(name))
    assert error["user_message"].endswith(".")
    assert error["suggested_actions"]
    assert error["operation"] in {"extraction", "selection", "download"}
    assert "signature=" not in json.dumps(error)
    assert result["attempts"] == (12 if name == "media.404" else 1)
    assert not (pipeline.data_dir / "files" / "tiktok" / video_id(name)).exists()


async def test_live_stream_is_refused_with_a_suggestion(client: PipelineClient) -> None:
    for name, status in {"live-link": "rejected", "live-short": "failed"}.items():
        error = (await outcome_with_status(client, name, status))["error"]
        assert error["error_type"] == "content.unsupported"
        assert "live streams are not recorded" in error["user_message"]
        assert "single post" in error["suggested_actions"][0]


async def test_dead_short_link_is_not_found(client: PipelineClient) -> None:
    error = (await outcome_with_status(client, "dead-link", "failed"))["error"]
    assert error["error_type"] == "content.not_found"


@pytest.mark.parametrize("name", UNUSUAL_SCENARIOS)
async def test_unusual_videos_complete(
    name: str, client: PipelineClient, pipeline: PipelineProcess
) -> None:
    result = await outcome_with_status(client, f"is-{name}")
    check_file(pipeline, result)
    assert "\x1b" not in json.dumps(result["video"]["title"], ensure_ascii=False)


# Transient failures


async def test_interrupted_transfers_are_resumed(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    for name in ("cut-once", "reset-once"):
        result = await outcome_with_status(client, name)
        check_file(pipeline, result)
        assert client.request_counts(result["video"]["id"]) == {"page": 1, "media": 2}


async def test_file_replaced_during_the_transfer_is_consistent(client: PipelineClient) -> None:
    (file,) = (await outcome_with_status(client, "replaced"))["files"]
    content = await asyncio.to_thread(path_of(file).read_bytes)
    assert hashlib.sha256(content).hexdigest() == file["sha256"]


async def test_expired_media_link_is_recovered_by_a_fresh_extraction(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    result = await outcome_with_status(client, "refused-once")
    check_file(pipeline, result)
    assert result["attempts"] == 2
    assert [each["code"] for each in result["recovery"]] == ["content.link_expired"]
    assert client.request_counts(result["video"]["id"]) == {"page": 2, "media": 2}


async def test_retry_after_sets_the_backoff(client: PipelineClient) -> None:
    result = await outcome_with_status(client, "wait-three-seconds")
    assert [each["code"] for each in result["recovery"]] == ["rate_limit.api"]
    (step,) = await client.messages(AUDIT, request_id="wait-three-seconds", step="recovery")
    assert planned_wait(step) == pytest.approx(3, abs=0.1)
    first, second = client.request_times(result["video"]["id"])
    assert second - first >= planned_wait(step)


async def test_two_server_errors_cause_two_backoffs_in_delay_topics(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    result = await client.outcome("server-error-twice", 60)
    check_file(pipeline, result)
    assert result["attempts"] == 3
    steps = [(each["step"], each["code"], each["counted"]) for each in result["recovery"]]
    assert steps == [("extraction", "network.server", True)] * 2
    waits = [
        later - sooner for sooner, later in pairwise(client.request_times(result["video"]["id"]))
    ]
    records = await client.messages(AUDIT, request_id="server-error-twice", step="recovery")
    planned = [planned_wait(step) for step in sorted(records, key=lambda each: str(each["at"]))]
    assert [5 <= planned[0] <= 6.3, 30 <= planned[1] <= 37.6] == [True, True], planned
    assert [wait >= least for wait, least in zip(waits, planned, strict=True)] == [True, True]
    key = f"tiktok:{result['video']['id']}".encode()
    parked = [record.topic for record in await client.records(*DELAYS) if record.key == key]
    assert len(parked) == 2


# Deadlines


async def test_request_past_its_deadline_expires_without_an_attempt(client: PipelineClient) -> None:
    result = await outcome_with_status(client, "too-late", "expired")
    assert result["error"]["error_type"] == "request.expired"
    assert result["attempts"] == 0
    assert client.request_counts(small(14)) == {}


# Contents of results


async def test_result_echoes_the_clients_attributes(client: PipelineClient) -> None:
    result = await outcome_with_status(client, "echo")
    assert result["attributes"] == ONE_OFFS["echo"]["attributes"]
    assert result["retry_of"] == "an earlier one"
    assert (result["batch_id"], result["batch_index"], result["batch_size"]) == (None,) * 3
    assert set(result["timings"]) == {"validation", "extraction", "selection", "download"}
    assert result["engine"]["yt_dlp"]
    assert result["engine"]["curl_cffi"]


async def test_request_without_id_gets_the_default_id(pipeline: PipelineProcess) -> None:
    url = page(small(16))
    await pipeline.publish({"url": url, "action": "info"})
    async with asyncio.timeout(20):
        while not (ids := await result_ids(pipeline, url)):
            await pipeline.read_results(0.1)
    assert ids[0].startswith("requests-")


async def result_ids(pipeline: PipelineProcess, url: str) -> list[str]:
    seen = await pipeline.read_results(0)
    return [name for name, results in seen.items() if results[0]["url"] == url]


async def test_binary_cloud_event_keeps_its_trace(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": "event-1",
        "ce_source": "/tests",
        "ce_type": "com.example.wish",
        "content-type": "application/json",
        "traceparent": PARENT,
    }
    body = json.dumps({"id": "binary", "url": page(small(17))}).encode()
    await pipeline.publish_raw(body, headers=encoded_headers(headers))
    assert (await outcome_with_status(client, "binary"))["trace_id"] == TRACE
    records = [r for r in await client.records(AUDIT) if r.key == b"binary"]
    assert len(records) == 4
    for record in records:
        assert dict(record.headers)["traceparent"].split(b"-")[1] == TRACE.encode()
    assert dict(records[0].headers)["ce_causationid"] == b"event-1"


async def test_structured_cloud_event_with_expired_deadline_expires(
    client: PipelineClient, pipeline: PipelineProcess
) -> None:
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
    kind = encoded_headers({"content-type": "application/cloudevents+json; charset=UTF-8"})
    for each in (event, late):
        await pipeline.publish_raw(json.dumps(each).encode(), headers=kind)
    assert (await outcome_with_status(client, "structured"))["trace_id"] == TRACE
    await outcome_with_status(client, "over", "expired")


def encoded_headers(headers: dict[str, str]) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in headers.items()]


async def test_progress_is_monotonic_and_at_most_two_records_per_second(
    client: PipelineClient,
) -> None:
    result = await outcome_with_status(client, "progress")
    records = await client.messages(PROGRESS, request_id="progress")
    assert 3 <= len(records) <= 8
    sizes = [each["bytes"] for each in records]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == records[-1]["total_bytes"] == result["files"][0]["bytes"]
    moments = [datetime.fromisoformat(each["at"]) for each in records]
    per_second = Counter(int((moment - moments[0]).total_seconds()) for moment in moments[:-1])
    assert max(per_second.values()) <= 2
    assert records[-1]["eta_seconds"] == 0


async def test_no_temporary_files_remain(client: PipelineClient, pipeline: PipelineProcess) -> None:
    await client.wait_for([request["id"] for request in requests() if "url" in request], 60)
    left = [path for path in (pipeline.data_dir / "tmp").rglob("*") if path.name.startswith("job-")]
    assert left == []
    metrics = await client.metrics()
    assert metrics["clipmill_stage_bugs_total"] == metrics["clipmill_stage_restarts_total"] == 0
    assert pipeline.standin.counters()["refused_hosts"] == {}
