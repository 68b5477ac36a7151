from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from agents.storage.object_connection import ObjectStoreSettings
from agents.storage_check import open_uploads
from agents.storage_check.open_uploads import OpenUpload, list_open_uploads
from agents.storage_check.signed_request import Login

LOGIN = Login("key", "secret")
SETTINGS = ObjectStoreSettings(url="s3://clips/media")
STARTED = "2026-11-30T08:00:00.000Z"


def upload(key: str, number: int) -> str:
    parts = f"<Key>{key}</Key><UploadId>{number}</UploadId><Initiated>{STARTED}</Initiated>"
    return f"<Upload>{parts}</Upload>"


def answer(*parts: str) -> bytes:
    inner = "".join(parts)
    name = "ListMultipartUploadsResult"
    return f'<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{name}>'.encode()


def test_all_pages_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>media/a</NextKeyMarker>"
    pages = [
        answer(more, "<NextUploadIdMarker>1</NextUploadIdMarker>", upload("media/a", 1)),
        answer("<IsTruncated>false</IsTruncated>", upload("media/b", 2)),
    ]
    queries: list[Mapping[str, str]] = []

    def send(*_: Any, query: Mapping[str, str]) -> bytes:
        queries.append(dict(query))
        return pages.pop(0)

    monkeypatch.setattr(open_uploads, "send", send)
    moment = datetime(2026, 11, 30, 8, tzinfo=UTC)
    assert list(list_open_uploads(SETTINGS, LOGIN)) == [
        OpenUpload(key="media/a", upload_id="1", started_at=moment),
        OpenUpload(key="media/b", upload_id="2", started_at=moment),
    ]
    first = {"uploads": "", "prefix": "media/"}
    assert queries == [first, first | {"key-marker": "media/a", "upload-id-marker": "1"}]


@pytest.mark.parametrize(
    "text", [b"", b"nonsense", answer("<Upload><Key>a</Key></Upload>"), b"<!DOCTYPE a><a/>"]
)
def test_other_answer_is_an_error(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_uploads, "send", lambda *_, **__: text)
    with pytest.raises(ValueError, match=r"XML|without"):
        list(list_open_uploads(SETTINGS, LOGIN))
