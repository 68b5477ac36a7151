"""User messages: for each error code a sentence, suggested actions and recovery commands."""

import re
import shlex
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from schemas.errors import ErrorCode, ErrorContext

REQUEST = "{request}"
"""Placeholder of the request's id in a command; never part of what `explain` returns."""

RETRY = f"clipmill retry {REQUEST}"
RETRY_REFRESH = f"clipmill retry {REQUEST} --refresh"
RETRY_SMALLER = f"clipmill retry {REQUEST} --quality 480p"

_MAX_REASON_CHARACTERS = 300


class ErrorMessage(msgspec.Struct, frozen=True):
    """The user message of one error code.

    Attributes:
        user_message: what happened, one sentence.
        suggested_actions: what the user can do, a sentence each.
        recovery_options: commands; `REQUEST` stands for the request's id.
    """

    user_message: str
    suggested_actions: tuple[str, ...] = ()
    recovery_options: tuple[str, ...] = ()


_LATER = "Submit it again later."
_OPERATOR = "Contact the operator of this clipmill with the request id."
_BROWSER = "Open the link in a browser to check whether the video exists."
_LOG_IN = "Configure an account: CLIPMILL_AUTH__COOKIE_FILES names files with its cookies."

MESSAGES: Mapping[ErrorCode, ErrorMessage] = MappingProxyType(
    {
        ErrorCode.NETWORK_TIMEOUT: ErrorMessage(
            "The platform did not answer in time.", (_LATER,), (RETRY, RETRY_SMALLER)
        ),
        ErrorCode.NETWORK_DNS: ErrorMessage(
            "The platform's host name could not be resolved.",
            ("Check the network connection and the DNS of the machine.", _LATER),
            (RETRY,),
        ),
        ErrorCode.NETWORK_CONNECTION: ErrorMessage(
            "The connection to the platform failed or was lost.",
            ("Check the network connection of the machine.", _LATER),
            (RETRY,),
        ),
        ErrorCode.NETWORK_SERVER: ErrorMessage(
            "The platform's servers reported an internal error.", (_LATER,), (RETRY,)
        ),
        ErrorCode.RATE_LIMIT_API: ErrorMessage(
            "The rate limit of the platform is exceeded.",
            ("Wait before submitting more.", "Spread large batches over a longer time."),
            (RETRY,),
        ),
        ErrorCode.RATE_LIMIT_IP_BLOCK: ErrorMessage(
            "The platform blocks requests from this IP address.",
            ("Wait some hours.", "Use another network or proxy."),
            (RETRY,),
        ),
        ErrorCode.RATE_LIMIT_ACCOUNT: ErrorMessage(
            "The platform limits the request rate of the account that was used.",
            ("Wait before submitting more.", "Use cookies of another account."),
            (RETRY,),
        ),
        ErrorCode.CONTENT_NOT_FOUND: ErrorMessage(
            "The video does not exist or no longer exists.",
            (_BROWSER, "Check the link for missing characters."),
        ),
        ErrorCode.CONTENT_PRIVATE: ErrorMessage(
            "The video is not public.",
            ("Ask its author to publish it.", _BROWSER, _LOG_IN),
        ),
        ErrorCode.CONTENT_UNSUPPORTED: ErrorMessage(
            "This kind of link or post is not supported.",
            ("Submit the link of a single post, or of a list of posts.", _BROWSER),
        ),
        ErrorCode.CONTENT_LIVE_ENDED: ErrorMessage(
            "The live stream is over.",
            ("Submit the link of the recording, if its author published one.",),
        ),
        ErrorCode.CONTENT_GEO_BLOCKED: ErrorMessage(
            "The video is not available in the region that it was requested from.",
            ("Use a network or proxy in a region where it is available.",),
            (RETRY,),
        ),
        ErrorCode.CONTENT_LOGIN_REQUIRED: ErrorMessage(
            "The platform requires a login for this video.",
            (
                _BROWSER,
                "Submit it again later: the platform at times requires a login from every visitor.",
                _LOG_IN,
            ),
            (RETRY,),
        ),
        ErrorCode.CONTENT_AGE_RESTRICTED: ErrorMessage(
            "The platform requires the login of an adult for this video.",
            ("Watch it in a browser with an account of the right age.", _LOG_IN),
        ),
        ErrorCode.CONTENT_NO_FORMATS: ErrorMessage(
            "The video has no format that matches the requested options.",
            ("Request another quality, container or codec.",),
            (RETRY, RETRY_SMALLER),
        ),
        ErrorCode.CONTENT_LINK_EXPIRED: ErrorMessage(
            "The platform rejected the download of a file that its page lists.",
            ("Submit it again, so that the page is read again.",),
            (RETRY, RETRY_SMALLER),
        ),
        ErrorCode.CONTENT_DAMAGED: ErrorMessage(
            "The downloaded file does not match the metadata of its page.",
            (_BROWSER, "Request another quality."),
            (RETRY, RETRY_SMALLER),
        ),
        ErrorCode.CONTENT_NO_SOUND: ErrorMessage(
            "The downloaded file has no sound, although its page declares it.",
            (_BROWSER,),
            (RETRY,),
        ),
        ErrorCode.CONTENT_WITHHELD: ErrorMessage(
            "The files of this post were removed by a person, and it is not downloaded again.",
            ("Submit it again with the option refresh to download it nevertheless.",),
            (RETRY_REFRESH,),
        ),
        ErrorCode.PLATFORM_CHANGED: ErrorMessage(
            "The platform answered with a page that could not be parsed.",
            (
                _LATER,
                "If all videos fail, update yt-dlp and curl_cffi: the platform may have changed.",
            ),
            (RETRY,),
        ),
        ErrorCode.SYSTEM_DISK_FULL: ErrorMessage(
            "There is no space left for the file.",
            ("Free space in the storage folder.", "Request a lower quality."),
            (RETRY, RETRY_SMALLER),
        ),
        ErrorCode.SYSTEM_STORAGE: ErrorMessage(
            "The file could not be stored.",
            ("Check the storage folder or bucket, and its permissions.", _OPERATOR),
            (RETRY,),
        ),
        ErrorCode.SYSTEM_CONFIG: ErrorMessage(
            "The configuration of clipmill is wrong for the request.",
            ("Check the settings that the technical details name.", _OPERATOR),
            (RETRY,),
        ),
        ErrorCode.SYSTEM_ENGINE_CRASH: ErrorMessage(
            "A process that reads pages or media crashed, or could not be started.",
            (_LATER, _OPERATOR),
            (RETRY,),
        ),
        ErrorCode.INTERNAL_BUG: ErrorMessage(
            "An internal error occurred in clipmill.",
            ("Report it with the technical details.", _LATER),
            (RETRY,),
        ),
        ErrorCode.REQUEST_INVALID: ErrorMessage(
            "The request is invalid.",
            ("Correct the field that the technical details name, and submit it again.",),
        ),
        ErrorCode.REQUEST_TOO_LARGE: ErrorMessage(
            "The requested file is larger than allowed.",
            ("Request a lower quality, or raise max_bytes.",),
            (RETRY_SMALLER,),
        ),
        ErrorCode.REQUEST_EXPIRED: ErrorMessage(
            "The deadline of the request passed before it was completed.",
            ("Submit it again with a later deadline.",),
            (RETRY, RETRY_SMALLER),
        ),
        ErrorCode.REQUEST_CANCELLED: ErrorMessage(
            "The request was cancelled.",
            ("Submit it again if it is still needed.",),
            (RETRY,),
        ),
    }
)
"""One row for every `ErrorCode`."""

_LARGE_REQUEST = ErrorMessage(
    "The request is larger than allowed.",
    ("Split a large batch.", "Shorten the URL or the attributes."),
)
"""``request.too_large`` for the request itself, not for the requested file."""

_TYPEABLE = re.compile(r"[A-Za-z0-9][!-~]{0,175}", re.ASCII)


def explain(
    code: ErrorCode,
    *,
    operation: str,
    url: str,
    details: Mapping[str, str] = MappingProxyType({}),
    request_id: str = "",
) -> ErrorContext:
    """Build the error as published to clients.

    Args:
        code: the error code.
        operation: the step that failed.
        url: the URL concerned, as the client gave it.
        details: facts for developers, without secrets; ``field`` and ``reason`` among them are also
            appended to the user's sentence.
        request_id: id of the failed request; without it no commands are suggested.
    """
    of_request = details.get("field", "").startswith("$")
    is_large_request = code is ErrorCode.REQUEST_TOO_LARGE and of_request
    message = _LARGE_REQUEST if is_large_request else MESSAGES[code]
    return ErrorContext(
        operation=operation,
        url=url,
        error_type=code,
        user_message=_sentence(message.user_message, details),
        technical_details=dict(details),
        recovery_options=_commands(message.recovery_options, request_id),
        suggested_actions=message.suggested_actions,
    )


def _sentence(general: str, details: Mapping[str, str]) -> str:
    reason = " ".join(details.get("reason", "").split()).rstrip(".")[:_MAX_REASON_CHARACTERS]
    field = details.get("field", "").removeprefix("$").removeprefix(".")
    if field and not reason.startswith(field):
        reason = f"{field}: {reason}" if reason else field
    return f"{general.rstrip('.')}: {reason}." if reason else general


def is_typeable(request_id: str) -> bool:
    """Return whether an id may be part of a command, shell-quoted."""
    return _TYPEABLE.fullmatch(request_id) is not None


def _commands(templates: tuple[str, ...], request_id: str) -> tuple[str, ...]:
    """Fill in the id, shell-quoted; an id that cannot be typed gets no commands."""
    if not is_typeable(request_id):
        return ()
    return tuple(template.replace(REQUEST, shlex.quote(request_id)) for template in templates)
