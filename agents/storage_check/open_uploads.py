"""Lists and removes the parts of uploads to S3 that have not ended, as those of killed workers.

An upload of a living worker looks the same; only its age tells them apart.
"""

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import msgspec

from agents.storage.object_connection import ObjectStoreSettings
from agents.storage_check.s3_requests import parse, send
from agents.storage_check.signed_request import Login


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


def list_open_uploads(settings: ObjectStoreSettings, login: Login) -> Iterator[OpenUpload]:
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


def remove_upload(settings: ObjectStoreSettings, login: Login, upload: OpenUpload) -> None:
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
