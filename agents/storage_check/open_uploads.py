"""Uploads in parts that have not ended, as those of killed workers.

They are listed and removed (S3), and the bucket's rule that removes them is checked. An upload of a
living worker looks the same; only its age tells them apart.
"""

import asyncio
import os
import urllib.error
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import msgspec

from agents.storage_check.report import CheckResult, CheckState
from agents.storage_check.s3_requests import Login, parse, send

if TYPE_CHECKING:  # Needs obstore, an extra.
    from agents.storage.object_connection import ObjectStoreSettings

RULE = "rule for interrupted uploads"
REMEDY = (
    "add a lifecycle rule AbortIncompleteMultipartUpload, see docs/storage.md, or parts of killed"
    " uploads stay and cost space"
)


class OpenUpload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that has not ended.

    Attributes:
        key: of the object that it would become, with the prefix.
        upload_id: the service's.
        started_at: when it began.
    """

    key: str
    upload_id: str
    started_at: datetime


def list_open_uploads(settings: "ObjectStoreSettings", login: Login) -> Iterator[OpenUpload]:
    """Yield the open uploads below the prefix, in the order of their keys.

    Raises:
        OSError: the store cannot be reached, or refuses.
        ValueError: its answer is not that of S3.
    """
    prefix = urlsplit(settings.url).path.strip("/")
    query = {"uploads": "", "prefix": f"{prefix}/" if prefix else ""}
    while True:
        answer = parse(send(settings, login, "GET", query=query))
        yield from map(_read, answer.iterfind("{*}Upload"))
        if answer.findtext("{*}IsTruncated") != "true":
            return
        query["key-marker"] = _text(answer, "NextKeyMarker")
        query["upload-id-marker"] = _text(answer, "NextUploadIdMarker")


def remove_upload(settings: "ObjectStoreSettings", login: Login, upload: OpenUpload) -> None:
    """Remove the parts of an upload.

    Raises:
        OSError: the store cannot be reached, or refuses.
    """
    send(settings, login, "DELETE", key=upload.key, query={"uploadId": upload.upload_id})


def _read(element: ET.Element) -> OpenUpload:
    return OpenUpload(
        key=_text(element, "Key"),
        upload_id=_text(element, "UploadId"),
        started_at=datetime.fromisoformat(_text(element, "Initiated")),
    )


def _text(element: ET.Element, name: str) -> str:
    text = element.findtext(f"{{*}}{name}")
    if not text:
        raise ValueError(f"an upload without {name}")
    return text


async def check_upload_rule(settings: "ObjectStoreSettings") -> CheckResult:
    """Ask the service for the bucket's lifecycle rules; Azure needs none."""
    scheme = urlsplit(settings.url).scheme
    if scheme == "az":
        return CheckResult(RULE, CheckState.OK, "Azure removes uncommitted blocks after a week")
    login = Login.from_environment(os.environ)
    if scheme == "gs" or login is None:
        reason = "clipmill cannot ask for it with these credentials"
        return CheckResult(RULE, CheckState.WARNING, f"{reason}; {REMEDY}")
    try:
        answer = await asyncio.to_thread(_lifecycle, settings, login)
    except (OSError, ValueError) as error:
        reason = f"it cannot be read ({_status_of(error)})"
        return CheckResult(RULE, CheckState.WARNING, f"{reason}; {REMEDY}")
    days = abort_days(answer, urlsplit(settings.url).path.strip("/"))
    if days is None:
        return CheckResult(RULE, CheckState.WARNING, f"there is none; {REMEDY}")
    return CheckResult(RULE, CheckState.OK, f"parts are removed after {days} days")


def abort_days(answer: bytes, prefix: str) -> int | None:
    """Return after how many days a rule removes parts below a prefix, None without such a rule.

    Raises:
        ValueError: the answer is no XML.
    """
    root = parse(answer) if answer else ET.Element("None")
    days = [_rule_days(rule, prefix) for rule in root.iterfind("{*}Rule")]
    return min((each for each in days if each is not None), default=None)


def _rule_days(rule: ET.Element, prefix: str) -> int | None:
    found = rule.findtext("{*}AbortIncompleteMultipartUpload/{*}DaysAfterInitiation")
    applies_to = rule.findtext("{*}Filter/{*}Prefix") or rule.findtext("{*}Prefix") or ""
    is_enabled = rule.findtext("{*}Status") == "Enabled"
    if not found or not is_enabled or not f"{prefix}/".startswith(applies_to):
        return None
    return int(found)


def _lifecycle(settings: "ObjectStoreSettings", login: Login) -> bytes:
    """Return the rules as XML; empty when the bucket has none."""
    try:
        return send(settings, login, "GET", query={"lifecycle": ""})
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return b""
        raise


def _status_of(error: Exception) -> str:
    return str(error.code) if isinstance(error, urllib.error.HTTPError) else type(error).__name__
