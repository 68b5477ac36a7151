import pytest

from agents.platforms.statuses import from_page_status, page_status_code
from schemas.errors import ErrorCode

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
    assert page_status_code(status) is code


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
