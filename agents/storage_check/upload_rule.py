"""Checks whether a bucket removes the parts of interrupted uploads."""

import asyncio
import os
import urllib.error
from http import HTTPStatus
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from agents.storage.object_connection import ObjectStoreSettings
from agents.storage_check.report import CheckResult, State
from agents.storage_check.s3_requests import parse, send
from agents.storage_check.signed_request import Login

NAME = "rule for interrupted uploads"
REMEDY = (
    "add a lifecycle rule AbortIncompleteMultipartUpload, see docs/storage.md, or parts of killed"
    " uploads stay and cost space"
)


async def check_upload_rule(settings: ObjectStoreSettings) -> CheckResult:
    """Ask the service for the bucket's lifecycle rules; Azure needs none."""
    scheme = urlsplit(settings.url).scheme
    if scheme == "az":
        return CheckResult(NAME, State.OK, "Azure removes uncommitted blocks after a week")
    login = Login.from_environment(os.environ)
    if scheme == "gs" or login is None:
        reason = "clipmill cannot ask for it with these credentials"
        return CheckResult(NAME, State.WARNING, f"{reason}; {REMEDY}")
    try:
        answer = await asyncio.to_thread(_lifecycle, settings, login)
    except (OSError, ValueError) as error:
        reason = f"it cannot be read ({_reason(error)})"
        return CheckResult(NAME, State.WARNING, f"{reason}; {REMEDY}")
    days = abort_days(answer, urlsplit(settings.url).path.strip("/"))
    if days is None:
        return CheckResult(NAME, State.WARNING, f"there is none; {REMEDY}")
    return CheckResult(NAME, State.OK, f"parts are removed after {days} days")


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


def _lifecycle(settings: ObjectStoreSettings, login: Login) -> bytes:
    """Return the rules as XML; empty when the bucket has none."""
    try:
        return send(settings, login, "GET", query={"lifecycle": ""})
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return b""
        raise


def _reason(error: Exception) -> str:
    return str(error.code) if isinstance(error, urllib.error.HTTPError) else type(error).__name__
