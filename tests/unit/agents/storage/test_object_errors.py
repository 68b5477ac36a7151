import pytest
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError

from agents.storage.object_errors import from_object_error, map_object_errors
from schemas.errors import ClipmillError, ErrorCode

URL = "s3://clips/media"
REQUEST = "Error performing PUT http://127.0.0.1:1/clips/media/a in 1ms"
STATUS = f"{REQUEST} - Server returned non-2xx status code:"
UNSENT = f"{REQUEST}, after 2 retries, max_retries: 2  - HTTP error: error sending request"


def answer(code: str) -> str:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Key>a</Key></Error>'


FULL, STORAGE = ErrorCode.SYSTEM_DISK_FULL, ErrorCode.SYSTEM_STORAGE
CASES = {
    "no_bucket": (
        FileNotFoundError(f"not found: {STATUS} 404 Not Found: {answer('NoSuchBucket')}"),
        (STORAGE, "bucket_missing", "the bucket does not exist (404, NoSuchBucket); create it"),
    ),
    "no_container": (
        FileNotFoundError(f"not found: {STATUS} 404 Not Found: {answer('ContainerNotFound')}"),
        (STORAGE, "bucket_missing", "the bucket does not exist"),
    ),
    "denied": (
        PermissionDeniedError(f"{STATUS} 403 Forbidden: {answer('AccessDenied')}"),
        (STORAGE, "denied", "access is denied (403, AccessDenied); check the credentials"),
    ),
    "denied_without_a_body": (
        PermissionDeniedError(f"{STATUS} 403 Forbidden: "),
        (STORAGE, "denied", "access is denied (403)"),
    ),
    "wrong_key": (
        PermissionDeniedError(f"{STATUS} 403 Forbidden: {answer('InvalidAccessKeyId')}"),
        (STORAGE, "credentials_rejected", "the credentials are rejected"),
    ),
    "wrong_secret": (
        PermissionDeniedError(f"{STATUS} 403 Forbidden: {answer('SignatureDoesNotMatch')}"),
        (STORAGE, "credentials_rejected", "the credentials are rejected"),
    ),
    "expired": (
        GenericError(f"{STATUS} 400 Bad Request: {answer('ExpiredToken')}"),
        (STORAGE, "credentials_rejected", "renew the cloud's credentials"),
    ),
    "no_credentials": (
        GenericError("Error performing PUT http://169.254.169.254/latest/api/token in 1ms"),
        (STORAGE, "credentials_missing", "no credentials were found"),
    ),
    "clock": (
        PermissionDeniedError(f"{STATUS} 403 Forbidden: {answer('RequestTimeTooSkewed')}"),
        (STORAGE, "clock", "synchronise the clock"),
    ),
    "throttled": (
        GenericError(f"{STATUS} 503 Service Unavailable: {answer('SlowDown')}"),
        (STORAGE, "throttled", "the store throttles the requests (503, SlowDown)"),
    ),
    "throttled_without_a_body": (
        GenericError(f"{STATUS} 429 Too Many Requests: "),
        (STORAGE, "throttled", "the store throttles the requests (429)"),
    ),
    "azure_busy": (
        GenericError(f"{STATUS} 503 Service Unavailable: {answer('ServerBusy')}"),
        (STORAGE, "throttled", "the store throttles the requests"),
    ),
    "quota": (
        PermissionDeniedError(f"{STATUS} 403 Forbidden: {answer('QuotaExceeded')}"),
        (FULL, "full", "free space or raise the quota"),
    ),
    "full": (
        GenericError(f"{STATUS} 507 Insufficient Storage: {answer('XMinioStorageFull')}"),
        (FULL, "full", "the store is full"),
    ),
    "region": (
        GenericError(f"{STATUS} 400 Bad Request: {answer('AuthorizationHeaderMalformed')}"),
        (STORAGE, "region", "correct storage.region"),
    ),
    "timeout": (
        GenericError(f"{UNSENT} source: TimedOut"),
        (STORAGE, "timeout", "the store did not answer in time"),
    ),
    "name": (
        GenericError(f'{UNSENT} source: ConnectError("dns error", "failed to lookup address")'),
        (STORAGE, "name", "the name of the store cannot be resolved"),
    ),
    "certificate": (
        GenericError(f"{UNSENT} invalid peer certificate: UnknownIssuer"),
        (STORAGE, "certificate", "set storage.ca_file"),
    ),
    "refused": (
        GenericError(f'{UNSENT} ConnectError("tcp connect error", ConnectionRefused)'),
        (STORAGE, "unreachable", "no connection to the store is possible"),
    ),
    "server": (
        GenericError(f"{STATUS} 500 Internal Server Error: {answer('InternalError')}"),
        (STORAGE, "server", "the store has an internal error (500, InternalError)"),
    ),
    "other": (
        AlreadyExistsError("what is this?"),
        (STORAGE, "other", "the request failed; check the store"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_client_error_has_a_code_and_names_the_cause(case: str) -> None:
    error, (code, cause, text) = CASES[case]
    mapped = from_object_error(error, URL)
    assert mapped.code is code
    assert mapped.details["cause"] == cause
    assert text in mapped.message
    assert mapped.message.startswith(f"cannot use {URL}: ")


def test_text_of_the_client_is_not_quoted() -> None:
    secret = (
        "<AWSAccessKeyId>AKIAIOSFODNN7</AWSAccessKeyId><StringToSign>x-amz-token</StringToSign>"
    )
    answered = f"{STATUS} 403 Forbidden: {answer('SignatureDoesNotMatch')}{secret}"
    with pytest.raises(ClipmillError) as caught, map_object_errors(URL):
        raise PermissionDeniedError(answered)
    shown = f"{caught.value!r} {caught.value.details}"
    assert "AKIA" not in shown
    assert "x-amz-token" not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_error_name_of_markup_is_not_taken() -> None:
    mapped = from_object_error(GenericError(f"{STATUS} 500 x: {answer('<b>bad</b>')}"), URL)
    assert "error" not in mapped.details
