"""The general failure table; failures of the real engine and TikTok are in ``tiktok/``."""

from typing import Any

import pytest

from agents.engine.interface import EngineFailure
from agents.platforms.failure_predicates import FailureRow, message_contains
from agents.platforms.failures import (
    MAX_DETAIL_CHARACTERS,
    PAGE_STATUSES,
    failure_table,
    find_row,
    from_page_status,
    sanitize,
    to_clipmill_error,
)
from schemas.errors import ErrorCode
from schemas.video import VideoRef

VIDEO = VideoRef(platform="mine", id="a1", url="https://mine.example/a1")
OWN = FailureRow(
    "own", ErrorCode.CONTENT_PRIVATE, message_contains("for friends"), "it is for friends"
)
TABLE = failure_table("Mine", (OWN,))


def failure(message: str = "", *types: str, **more: Any) -> EngineFailure:
    return EngineFailure(types=types or ("ExtractorError",), message=message, **more)


CASES: dict[str, tuple[EngineFailure, ErrorCode]] = {
    "engine_timeout": (failure("", "EngineTimeout"), ErrorCode.NETWORK_TIMEOUT),
    "engine_crash": (failure("", "EngineCrash"), ErrorCode.SYSTEM_ENGINE_CRASH),
    "engine_closed": (failure("", "EngineClosed"), ErrorCode.SYSTEM_ENGINE_CRASH),
    "job_too_large": (failure("", "JobTooLarge"), ErrorCode.SYSTEM_CONFIG),
    "answer_too_large": (failure("", "ResultTooLargeError"), ErrorCode.CONTENT_UNSUPPORTED),
    "unknown_extractor": (failure("", "UnknownExtractorError"), ErrorCode.SYSTEM_CONFIG),
    "bad_address": (failure("", "InvalidURL"), ErrorCode.CONTENT_UNSUPPORTED),
    "socks_login": (
        failure("User was rejected by the SOCKS5 server (1 1).", "ProxyError"),
        ErrorCode.SYSTEM_CONFIG,
    ),
    "socks_other": (
        failure("Received invalid version in initial SOCKS5 response", "ProxyError"),
        ErrorCode.SYSTEM_CONFIG,
    ),
    "socks_denies": (
        failure("cannot complete SOCKS5 connection to a.example. (2). See", "ProxyError"),
        ErrorCode.SYSTEM_CONFIG,
    ),
    "socks_expired": (failure("6 TTL expired", "ProxyError"), ErrorCode.NETWORK_TIMEOUT),
    "socks_dns": (
        failure("SocksHTTPSConnection(host='a.example', port=443)", "gaierror"),
        ErrorCode.NETWORK_DNS,
    ),
    "socks_away": (
        failure("SocksHTTPSConnection(host='a.example', port=443)", "NewConnectionError"),
        ErrorCode.NETWORK_CONNECTION,
    ),
    "proxy_denies": (failure("CONNECT tunnel failed, response 403"), ErrorCode.SYSTEM_CONFIG),
    "proxy_dns": (failure(curl_code=5), ErrorCode.NETWORK_DNS),
    "proxy_fails": (failure("", "ProxyError"), ErrorCode.NETWORK_CONNECTION),
    "proxy_unusable": (failure("", "NoSupportingHandlers"), ErrorCode.SYSTEM_CONFIG),
    "own": (failure("this is for friends", status=404), ErrorCode.CONTENT_PRIVATE),
    "http_404": (failure("has been removed", status=404), ErrorCode.CONTENT_NOT_FOUND),
    "http_5xx": (failure(status=599), ErrorCode.NETWORK_SERVER),
    "http_other": (failure(status=302), ErrorCode.PLATFORM_CHANGED),
    "timeout": (failure(curl_code=28), ErrorCode.NETWORK_TIMEOUT),
    "dns": (failure(curl_code=6), ErrorCode.NETWORK_DNS),
    "certificate": (failure(curl_code=60), ErrorCode.SYSTEM_CONFIG),
    "too_large": (failure("", "PageTooLargeError"), ErrorCode.CONTENT_UNSUPPORTED),
    "address_refused": (failure("", "AddressRefusedError"), ErrorCode.SYSTEM_CONFIG),
    "truncated": (failure("", "IncompleteRead"), ErrorCode.NETWORK_CONNECTION),
    "undecodable": (failure(curl_code=61), ErrorCode.NETWORK_CONNECTION),
    "tls": (failure("", "SSLError"), ErrorCode.NETWORK_CONNECTION),
    "disk_full": (failure(errno=28), ErrorCode.SYSTEM_DISK_FULL),
    "connection": (failure(curl_code=56), ErrorCode.NETWORK_CONNECTION),
    "region_locked": (failure("", "GeoRestrictedError"), ErrorCode.CONTENT_GEO_BLOCKED),
    "live_ended": (failure("", "UserNotLive"), ErrorCode.CONTENT_LIVE_ENDED),
    "login": (
        failure("This video is only available for registered users. Use --cookies"),
        ErrorCode.CONTENT_LOGIN_REQUIRED,
    ),
    "protected": (failure("This video is DRM protected"), ErrorCode.CONTENT_UNSUPPORTED),
    "no_formats": (failure("No video formats found!"), ErrorCode.CONTENT_NO_FORMATS),
    "private": (failure("This video is private"), ErrorCode.CONTENT_PRIVATE),
    "gone": (failure("This video has been removed"), ErrorCode.CONTENT_NOT_FOUND),
    "unsupported": (failure("", "UnsupportedError"), ErrorCode.CONTENT_UNSUPPORTED),
    "unreadable": (failure("'NoneType' …", "TypeError"), ErrorCode.PLATFORM_CHANGED),
    "bug": (failure("", "SystemExit"), ErrorCode.INTERNAL_BUG),
}


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES.keys())
def test_failure_matches_its_row(name: str, case: tuple[EngineFailure, ErrorCode]) -> None:
    row = find_row(case[0], TABLE)
    assert (row.name, row.code) == (name, case[1])


def test_every_row_has_a_case() -> None:
    others = {f"http_{status:d}" for status in PAGE_STATUSES} - CASES.keys()
    assert {row.name for row in TABLE} | {"bug"} == CASES.keys() | others


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_texts_name_the_platform_and_no_other(row: FailureRow) -> None:
    assert "TikTok" not in row.text
    assert "{" not in row.text
    assert row.text[-1].isalnum()


def test_error_names_the_video_and_the_cause() -> None:
    error = to_clipmill_error(
        failure("HTTP Error 429", "ExtractorError", "HTTPError", status=429, retry_after="7"),
        VIDEO,
        site="Mine",
        table=TABLE,
    )
    assert str(error) == "rate_limit.api: Mine video a1: Mine answered 429."
    assert error.retry_after == 7
    assert error.details == {
        "failure": "http_429",
        "types": "ExtractorError < HTTPError",
        "said": "HTTP Error 429",
        "status": "429",
    }


def test_fact_names_are_prefixed_and_secrets_removed() -> None:
    sample = failure("see https://a.example/?token=hunter2", facts={"code": "7"})
    error = to_clipmill_error(sample, VIDEO, site="Mine", table=TABLE)
    assert error.details["mine_code"] == "7"
    assert "hunter2" not in str(error.details)


def test_engine_messages_are_bounded() -> None:
    assert sanitize("a\n b; please report this issue on x") == "a b"
    assert len(sanitize("x" * 10_000)) == MAX_DETAIL_CHARACTERS


CODES = {
    300: ErrorCode.PLATFORM_CHANGED,
    302: ErrorCode.PLATFORM_CHANGED,
    400: ErrorCode.PLATFORM_CHANGED,
    401: ErrorCode.CONTENT_LOGIN_REQUIRED,
    403: ErrorCode.RATE_LIMIT_IP_BLOCK,
    404: ErrorCode.CONTENT_NOT_FOUND,
    408: ErrorCode.NETWORK_TIMEOUT,
    410: ErrorCode.CONTENT_NOT_FOUND,
    418: ErrorCode.PLATFORM_CHANGED,
    425: ErrorCode.RATE_LIMIT_API,
    429: ErrorCode.RATE_LIMIT_API,
    451: ErrorCode.CONTENT_GEO_BLOCKED,
    500: ErrorCode.NETWORK_SERVER,
    503: ErrorCode.NETWORK_SERVER,
    599: ErrorCode.NETWORK_SERVER,
}


@pytest.mark.parametrize(("status", "code"), CODES.items())
def test_status_maps_to_its_code(status: int, code: ErrorCode) -> None:
    assert from_page_status(status, None, "vm.tiktok.com").code is code


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("soon", None), ("120", 120), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_error_names_the_host_and_keeps_retry_after(
    header: str | None, seconds: float | None
) -> None:
    error = from_page_status(429, header, "vm.tiktok.com")
    assert error.message == "vm.tiktok.com answered 429"
    assert error.details == {"status": "429"}
    assert error.retry_after == seconds
