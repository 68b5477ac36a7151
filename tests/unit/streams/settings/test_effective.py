from pathlib import Path

import pytest

from streams.settings import KafkaSettings, Settings
from streams.settings.effective import _without_login, effective_settings

pytestmark = pytest.mark.usefixtures("own_settings")


def test_value_of_an_argument_has_its_own_source() -> None:
    Path("clipmill.toml").write_text('[kafka]\nbootstrap = "file:1"\npartitions = 4\n')
    settings = Settings()
    kafka = KafkaSettings(bootstrap="argument:1", partitions=4)
    given = settings.model_copy(update={"kafka": kafka})
    found = {each.name: each for each in effective_settings(given)}
    bootstrap, partitions = found["kafka.bootstrap"], found["kafka.partitions"]
    assert (bootstrap.value, bootstrap.source) == ('"argument:1"', "command line")
    assert (partitions.value, partitions.source) == ("4", "file clipmill.toml")
    assert [each.name for each in found.values() if each.is_set] == [
        "kafka.bootstrap",
        "kafka.partitions",
    ]
    assert (bootstrap.group, found["log_level"].group) == ("kafka", "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a:1", "http://a:1"),
        ("http://u@a:1", "http://********@a:1"),
        ("http://u:p@a:1", "http://********@a:1"),
        ("http://u:p@ss@a:1", "http://********@a:1"),
        ("http://u@a:1/@b", "http://********@a:1/@b"),
        ("https://a/@b", "https://a/@b"),
        ("127.0.0.1:9092", "127.0.0.1:9092"),
        ("", ""),
    ],
)
def test_a_login_in_a_url_is_masked(url: str, shown: str) -> None:
    assert _without_login(url) == shown
