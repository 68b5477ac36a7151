import pytest

from agents.storage.object_connection import ObjectStoreSettings
from agents.storage_check.report import State
from agents.storage_check.upload_rule import abort_days, check_upload_rule

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
def test_other_answer_is_an_error(answer: bytes) -> None:
    with pytest.raises(ValueError, match="XML"):
        abort_days(answer, "media")


@pytest.mark.parametrize(
    ("url", "state"),
    [("az://clips", State.OK), ("gs://clips", State.WARNING), ("s3://clips", State.WARNING)],
)
async def test_rule_that_cannot_be_asked_for_is_a_warning(
    url: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    found = await check_upload_rule(ObjectStoreSettings(url=url))
    assert found.state is state
