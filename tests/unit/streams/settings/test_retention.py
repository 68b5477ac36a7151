from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streams.settings import RetentionSettings, load_settings


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
