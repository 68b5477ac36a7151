from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streams.settings import RetentionSettings, StorageSettings, load_settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://clips", "s3://clips"),
        ("s3://clips/media/tiktok/", "s3://clips/media/tiktok"),
        ("gs://clips.example.org/a-b_c", "gs://clips.example.org/a-b_c"),
        ("az://container/a.b", "az://container/a.b"),
        ("", None),
        (None, None),
    ],
)
def test_object_store_url_is_accepted(url: str | None, expected: str | None) -> None:
    assert StorageSettings(url=url).url == expected


@pytest.mark.parametrize(
    "url",
    [
        "clips/media",
        "http://clips/media",
        "file:///data",
        "s3://",
        "s3:///media",
        "s3://key:secret@clips/media",
        "s3://clips/../other",
        "s3://clips/.hidden",
        "s3://clips//media",
        "s3://clips/media?versionId=1",
        "s3://clips/media#x",
        "s3://Clips",
        "s3://clips/a b",
        "s3://clips/ä",
        "s3://clips/media\n",
    ],
)
def test_other_url_is_rejected_and_not_quoted(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        StorageSettings(url=url)
    reason = caught.value.errors()[0]["msg"]
    assert "s3://BUCKET/PREFIX" in reason
    assert "secret" not in reason


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"endpoint": "storage:9000"}, "must start with http"),
        ({"proxy": "socks5://proxy"}, "must start with http"),
        ({"endpoint": "http://key:a/b@storage"}, "encode"),
        ({"public_url_prefix": "media.example.org"}, "must start with http"),
        ({"public_url_prefix": "https://media.example.org/?x="}, "without"),
        ({"part_bytes": 5 * 2**20 - 1}, "greater than or equal"),
        ({"uploads": 0}, "greater than 0"),
    ],
)
def test_unusable_value_is_rejected(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        StorageSettings(url="s3://clips", **values)


def test_path_template_is_accepted() -> None:
    text = "{author}/{title:.80} [{platform} {id}].{format}.{ext}"
    assert StorageSettings(path_template=text).path_template == text
    assert StorageSettings(path_template="").path_template is None


def test_unusable_path_template_is_rejected_with_its_reason() -> None:
    with pytest.raises(ValidationError, match=r"\{uploader\} is no field") as caught:
        StorageSettings(path_template="{uploader}/{platform} {id}.{format}.{ext}")
    assert caught.value.errors()[0]["loc"] == ("path_template",)


@pytest.mark.parametrize("name", ["endpoint", "region", "proxy"])
def test_setting_of_an_object_store_needs_its_url(name: str) -> None:
    with pytest.raises(ValidationError, match="need url"):
        StorageSettings(**{name: "http://storage"})


def test_nothing_is_limited_by_default() -> None:
    assert not RetentionSettings().is_limited
    assert not RetentionSettings(attribute="customer").is_limited


@pytest.mark.parametrize(
    "values",
    [
        {"days": 1},
        {"bytes": 1},
        {"platforms": {"tiktok": {"days": 7}}},
        {"attribute": "customer", "requesters": {"acme": {"bytes": 1}}},
    ],
)
def test_each_limit_limits(values: dict[str, Any]) -> None:
    assert RetentionSettings.model_validate(values).is_limited


@pytest.mark.parametrize(
    "values",
    [
        {"days": 0},
        {"days": -1},
        {"bytes": 0},
        {"days": 1e9},
        {"requesters": {"acme": {"days": 1}}},
        {"attribute": ""},
        {"platforms": {"../x": {"days": 1}}},
        {"platforms": {"tiktok": {"hours": 1}}},
    ],
)
def test_values_that_cannot_be_meant_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RetentionSettings.model_validate(values)


def test_environment_and_file_set_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clipmill.toml").write_text(
        "[storage.retention]\nbytes = 5\n[storage.retention.platforms.tiktok]\ndays = 7\n"
    )
    monkeypatch.setenv("CLIPMILL_STORAGE__RETENTION__DAYS", "30")
    retention = load_settings().storage.retention
    assert (retention.days, retention.bytes, retention.platforms["tiktok"].days) == (30, 5, 7)
