import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agents.engine.interface import EngineFailure
from agents.platforms import failures
from agents.platforms.failure_predicates import FailureRow
from agents.platforms.failures import BUG, MAX_DETAIL_CHARACTERS, PAGE_STATUSES, sanitize
from agents.platforms.tiktok.failures import TABLE
from agents.platforms.tiktok.handler import TikTok
from agents.platforms.tiktok.urls import read_url
from schemas.errors import ErrorCode
from schemas.listing import ListingRef
from schemas.video import VideoRef

VIDEO = VideoRef(
    platform="tiktok",
    id="7608826249200356630",
    url="https://www.tiktok.com/@name/video/7608826249200356630",
)
FILE = Path(__file__).parent.parent / "samples" / "tiktok_failures.json"


to_clipmill_error = TikTok().to_error


def find_row(failure: EngineFailure) -> FailureRow:
    return failures.find_row(failure, TABLE)


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A failure with its expected row and error code."""

    row: str
    code: ErrorCode
    failure: EngineFailure


RECORDED_FILE = Path(__file__).parents[4] / "samples" / "tiktok_failures.json"
RECORDED = msgspec.json.decode(RECORDED_FILE.read_bytes(), type=dict[str, EngineFailure])
"""Failures of the real extractor, by scenario of the stand-in."""

ROWS = {
    "page.401": "http_401",
    "page.404": "http_404",
    "page.408": "http_408",
    "page.410": "http_410",
    "page.418": "http_other",
    "page.425": "http_425",
    "page.403": "http_403",
    "page.429": "http_429",
    "page.429after": "http_429",
    "page.451": "http_451",
    "page.500": "http_5xx",
    "page.502": "http_5xx",
    "page.503": "http_5xx",
    "page.hang": "timeout",
    "page.drip": "timeout",
    "page.reset": "connection",
    "page.truncated": "truncated",
    "page.gzip": "undecodable",
    "page.huge": "too_large",
    "deleted": "deleted",
    "region": "withheld",
    "geofence": "withheld",
    "blocked": "ip_block",
    "private": "private",
    "selfsee": "private",
    "privateaccount": "private_account",
    "withheld": "region_locked",
    "reviewing": "under_review",
    "status": "gone",
    "age": "classified",
    "login": "login",
    "members": "login",
    "adults": "classified",
    "audit": "not_approved",
    "copyright": "withheld",
    "classified": "classified",
    "missing": "deleted",
    "other": "unavailable",
    "badjson": "no_page_data",
    "status.unknown": "unknown_code",
    "noitem": "no_item",
    "layout": "no_page_data",
    "captcha": "challenge",
    "challenge.again": "challenge",
    "challenge.none": "challenge",
    "notfound": "notfound",
    "stranger": "other_post",
    "friends": "private",
    "shop": "shop_post",
    "ad": "ad_post",
    "link.dead": "http_404",
    "link.loop": "http_other",
    "link.limited": "http_429",
    "link.broken": "http_5xx",
    "link.hang": "timeout",
    "link.page": "unsupported",
    "link.loopback": "http_403",
    "link.outside": "proxy_denies",
    **dict.fromkeys(("socks.1", "socks.1.link"), "proxy_fails"),
    **dict.fromkeys(("socks.2", "socks.2.link"), "socks_denies"),
    **dict.fromkeys(("socks.3", "socks.3.link"), "proxy_fails"),
    **dict.fromkeys(("socks.4", "socks.4.link"), "proxy_fails"),
    **dict.fromkeys(("socks.5", "socks.5.link"), "proxy_fails"),
    **dict.fromkeys(("socks.6", "socks.6.link"), "socks_expired"),
    **dict.fromkeys(("socks.7", "socks.7.link"), "socks_denies"),
    **dict.fromkeys(("socks.8", "socks.8.link"), "socks_denies"),
    **dict.fromkeys(("socks.9", "socks.9.link"), "proxy_fails"),
    **dict.fromkeys(("socks.methods", "socks.methods.link"), "socks_login"),
    **dict.fromkeys(("socks.http", "socks.http.link"), "socks_other"),
    **dict.fromkeys(("socks.close", "socks.close.link"), "proxy_fails"),
    **dict.fromkeys(("socks.unreachable", "socks.unreachable.link"), "proxy_fails"),
    **dict.fromkeys(("socks.hang", "socks.hang.link"), "timeout"),
    **dict.fromkeys(("socks.login", "socks.login.link"), "socks_login"),
    "socks.tls": "tls",
    "socks.tls.link": "connection",
    "socks.closed": "connection",
    "socks.closed.link": "socks_away",
    "socks.dns": "proxy_dns",
    "socks.dns.link": "socks_dns",
    "connect.502": "proxy_fails",
    "connect.502.link": "proxy_fails",
    "connect.tls.link": "connection",
    "dns": "dns",
    "dns.link": "dns",
    "proxy.dns": "proxy_dns",
    "proxy.dns.link": "proxy_dns",
    "proxy.label.link": "proxy_unusable",
    "address.scheme": "bad_address",
    "address.hostless": "bad_address",
    "live.ended": "live_ended",
    "formats.none": "no_formats",
    "formats.other": "no_formats",
    "disk.full": "disk_full",
    "page.reshaped": "unreadable",
    "connect.tls": "tls",
    "connect.hang": "timeout",
    "proxy.closed": "connection",
    "proxy.closed.link": "proxy_fails",
    "untrusted": "certificate",
    "untrusted.link": "certificate",
    "address.refused": "address_refused",
    "address.refused.link": "address_refused",
    "profile:profile.private": "private_account",
    "profile:profile.missing": "no_account",
    "profile:profile.hidden": "private_account",
    "profile:list.429": "http_429",
    "profile:list.nothing": "empty_answer",
    "profile:list.same": "same_page",
    "profile:list.status": "private_account",
    "profile:page.429": "http_429",
    "profile:login": "login",
    "profile:layout": "no_page_data",
    "profile:captcha": "challenge",
    "profile:challenge.again": "challenge",
    "profile:notfound": "notfound",
    "collection:list.status": "unknown_code",
    "collection:list.429": "http_429",
    "extractor.unknown": "unknown_extractor",
    "not.tiktok": "bug",
    "engine.timeout": "engine_timeout",
    "engine.crash": "engine_crash",
    "engine.closed": "engine_closed",
    "engine.memory": "engine_crash",
    "engine.job": "job_too_large",
    "engine.result": "answer_too_large",
}

SAMPLES = msgspec.json.decode(FILE.read_bytes(), type=dict[str, Sample])


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
def test_sample_maps_to_its_row_and_code(sample: Sample) -> None:
    error = to_clipmill_error(sample.failure, VIDEO)
    assert error.details["failure"] == sample.row
    assert error.code is sample.code
    assert error.message.startswith(f"TikTok video {VIDEO.id}: ")
    assert error.message.endswith(".")


@pytest.mark.parametrize("scenario", RECORDED)
def test_recorded_failure_matches_its_row(scenario: str) -> None:
    assert find_row(RECORDED[scenario]).name == ROWS[scenario]


def test_retry_after_of_a_recorded_failure_is_kept() -> None:
    assert to_clipmill_error(RECORDED["page.429after"], VIDEO).retry_after == 30


@pytest.mark.parametrize("row", [*TABLE, BUG], ids=lambda row: row.name)
def test_every_row_matches_its_samples(row: FailureRow) -> None:
    own = [sample.failure for sample in SAMPLES.values() if sample.row == row.name]
    assert own
    assert all(row.predicate(failure) for failure in own if failure.types)


@pytest.mark.parametrize("row", [*TABLE, BUG], ids=lambda row: row.name)
def test_every_row_matches_a_recorded_failure(row: FailureRow) -> None:
    assert row.name in {ROWS[scenario] for scenario in RECORDED}


def test_row_names_are_unique() -> None:
    assert len({row.name for row in (*TABLE, BUG)}) == len(TABLE) + 1


def failure(**fields: Any) -> EngineFailure:
    return EngineFailure(**{"types": ("ExtractorError",), "message": "", **fields})


@pytest.mark.parametrize(("status", "code"), PAGE_STATUSES.items())
def test_statuses_have_the_codes_of_short_links(status: int, code: ErrorCode) -> None:
    assert find_row(failure(types=("ExtractorError", "HTTPError"), status=status)).code is code


@pytest.mark.parametrize(
    ("more", "row"),
    [
        ({"facts": {"status_code": "10204", "status_message": "status_deleted"}}, "deleted"),
        ({"status": 403}, "http_403"),
        ({"curl_code": 28}, "timeout"),
        ({"types": ("EngineTimeout", "ExtractorError")}, "engine_timeout"),
    ],
    ids=["TikTok's status message", "status", "curl's code", "engine"],
)
def test_facts_take_precedence_over_messages(more: dict[str, Any], row: str) -> None:
    message = "Unexpected response from webpage request"
    assert find_row(failure(message=message, **more)).name == row


def test_deleted_post_is_not_found_rather_than_private() -> None:
    facts = {"status_code": "10204", "status_message": "item_privacy_authorization&status_deleted"}
    assert find_row(failure(facts=facts)).code is ErrorCode.CONTENT_NOT_FOUND
    alone = {"status_code": "10204", "status_message": "item_privacy_authorization"}
    assert find_row(failure(facts=alone)).code is ErrorCode.CONTENT_PRIVATE


PROFILE = read_url("https://www.tiktok.com/@name")
STORY = read_url(f"https://www.tiktok.com/@name/story/{VIDEO.id}")


@pytest.mark.parametrize(
    ("scenario", "code", "words"),
    [
        ("profile:profile.missing", ErrorCode.CONTENT_NOT_FOUND, "does not exist"),
        ("profile:profile.private", ErrorCode.CONTENT_PRIVATE, "the account is private"),
        ("profile:profile.hidden", ErrorCode.CONTENT_PRIVATE, "the account is private"),
        ("profile:list.429", ErrorCode.RATE_LIMIT_API, "answered 429"),
        ("profile:list.nothing", ErrorCode.RATE_LIMIT_API, "empty response"),
        ("profile:list.same", ErrorCode.NETWORK_SERVER, "again instead of the next one"),
        ("profile:layout", ErrorCode.PLATFORM_CHANGED, "changed its format"),
    ],
)
def test_profile_failure_has_its_code_and_message(
    scenario: str, code: ErrorCode, words: str
) -> None:
    assert isinstance(PROFILE, ListingRef)
    error = to_clipmill_error(RECORDED[scenario], PROFILE)
    assert error.code is code
    assert error.message.startswith("TikTok profile name: ")
    assert words in error.message


@pytest.mark.parametrize("scenario", ["noitem", "deleted", "missing", "status"])
def test_missing_story_is_reported_as_expired(scenario: str) -> None:
    assert isinstance(STORY, VideoRef)
    error = to_clipmill_error(RECORDED[scenario], STORY)
    assert error.code is ErrorCode.CONTENT_NOT_FOUND
    assert "stories last 24 hours" in error.message
    assert error.details["failure"] == ROWS[scenario]


@pytest.mark.parametrize("scenario", ["private", "withheld", "blocked", "page.429", "layout"])
def test_other_failures_of_stories_are_those_of_videos(scenario: str) -> None:
    assert isinstance(STORY, VideoRef)
    story, video = (to_clipmill_error(RECORDED[scenario], each) for each in (STORY, VIDEO))
    assert (story.code, story.message) == (video.code, video.message)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("0", 0), (None, None), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after_header_is_parsed(header: str | None, seconds: float | None) -> None:
    error = to_clipmill_error(failure(status=429, retry_after=header), VIDEO)
    assert error.code is ErrorCode.RATE_LIMIT_API
    assert error.retry_after == seconds


def test_details_hold_the_raw_failure() -> None:
    sample = failure(
        types=("ExtractorError", "TransportError"),
        message="broke",
        curl_code=56,
        errno=104,
        facts={"status_code": "7"},
    )
    assert to_clipmill_error(sample, VIDEO).details == {
        "failure": "connection",
        "types": "ExtractorError < TransportError",
        "said": "broke",
        "curl_code": "56",
        "errno": "104",
        "tiktok_status_code": "7",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n b\t c", "a b c"),
        ("broke; please report this issue on https://github.com/x", "broke"),
        ("GET https://a.example/x?token=hunter2#y failed", "GET https://a.example/x failed"),
        ("GET https://a.example?token=hunter2", "GET https://a.example"),
        ("x" * 10_000, "x" * MAX_DETAIL_CHARACTERS),
        ("", ""),
    ],
)
def test_message_is_sanitized(text: str, expected: str) -> None:
    assert sanitize(text) == expected


SECRETS = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(
    SECRETS,
    st.sampled_from(["http", "https"]),
    st.sampled_from(
        [
            "{scheme}://user:{secret}@proxy.example:3128",
            "{scheme}://{secret}@proxy.example/",
            "{scheme}://v16.tiktok.com/x?signature={secret}",
            "{scheme}://v16.tiktok.com?a=1&b={secret}#c",
            "{scheme}://v16.tiktok.com/#{secret}",
            "'{scheme}://u:{secret}@h.example/x?y={secret}'",
        ]
    ),
    st.text(st.characters(codec="utf-8"), max_size=50),
)
def test_secrets_in_urls_are_removed(secret: str, scheme: str, form: str, around: str) -> None:
    assume(secret not in around)
    text = f"{around} {form.format(secret=secret, scheme=scheme)} {around}"
    facts = {"status_message": text}
    error = to_clipmill_error(failure(message=text, facts=facts), VIDEO)
    assert secret not in f"{error} {error.details}"


def test_facts_are_bounded() -> None:
    facts = {f"fact{number:03}": "x" * 10_000 for number in range(1_000)}
    details = to_clipmill_error(failure(facts=facts), VIDEO).details
    assert len(json.dumps(details)) < 5_000


@given(
    st.builds(
        EngineFailure,
        types=st.lists(st.sampled_from(["ExtractorError", "HTTPError", "X"])).map(tuple),
        message=st.text(),
        status=st.none() | st.integers(),
        retry_after=st.none() | st.text(),
        errno=st.none() | st.integers(),
        curl_code=st.none() | st.integers(),
        facts=st.dictionaries(st.sampled_from(["status_code", "status_message", "x"]), st.text()),
    )
)
def test_any_failure_maps_to_an_error_code(any_failure: EngineFailure) -> None:
    error = to_clipmill_error(any_failure, VIDEO)
    assert error.code in ErrorCode
    assert all(len(value) <= MAX_DETAIL_CHARACTERS for value in error.details.values())
