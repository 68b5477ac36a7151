from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from agents.storage.object_connection import ObjectStoreSettings
from agents.storage_check import open_uploads
from agents.storage_check.open_uploads import (
    OpenUpload,
    abort_days,
    check_upload_rule,
    list_open_uploads,
)
from agents.storage_check.report import CheckState
from agents.storage_check.s3_requests import Login

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


# The bucket's rule

NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def rules(*each: str, namespace: str = NAMESPACE) -> bytes:
    inner = "".join(f"<Rule>{rule}</Rule>" for rule in each)
    return f"<LifecycleConfiguration{namespace}>{inner}</LifecycleConfiguration>".encode()


def rule(days: int, status: str = "Enabled", scope: str = "<Filter><Prefix/></Filter>") -> str:
    abort = f"<DaysAfterInitiation>{days}</DaysAfterInitiation>"
    return (
        f"<Status>{status}</Status>{scope}"
        f"<AbortIncompleteMultipartUpload>{abort}</AbortIncompleteMultipartUpload>"
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (rules(rule(1)), 1),
        (rules(rule(1), namespace=""), 1),
        (rules(rule(7), rule(2)), 2),
        (rules(rule(3, scope="<Filter/>")), 3),
        (rules(rule(3, scope="<Prefix>media/</Prefix>")), 3),
        (rules(rule(3, scope="<Filter><Prefix>media</Prefix></Filter>")), 3),
        (rules(rule(3, scope="<Filter><Prefix>other/</Prefix></Filter>")), None),
        (rules(rule(3, scope="<Filter><Prefix>media/a/</Prefix></Filter>")), None),
        (rules(rule(1, status="Disabled")), None),
        (rules("<Status>Enabled</Status><Expiration><Days>9</Days></Expiration>"), None),
        (rules(), None),
        (b"", None),
    ],
)
def test_enabled_rule_of_the_prefix_is_found(answer: bytes, expected: int | None) -> None:
    assert abort_days(answer, "media") == expected


@pytest.mark.parametrize(
    "answer", [b"<", b"nonsense", b'<!DOCTYPE a [<!ENTITY b "c">]><a/>', rules(rule(1))[:-9]]
)
def test_other_answer_of_rules_is_an_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match="XML"):
        abort_days(answer, "media")


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("az://clips", CheckState.OK),
        ("gs://clips", CheckState.WARNING),
        ("s3://clips", CheckState.WARNING),
    ],
)
async def test_rule_that_cannot_be_asked_for_is_a_warning(
    url: str, state: CheckState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    found = await check_upload_rule(ObjectStoreSettings(url=url))
    assert found.state is state
