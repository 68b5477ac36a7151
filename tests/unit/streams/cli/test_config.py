from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.config import config
from streams.settings import setting_paths

pytestmark = pytest.mark.usefixtures("own_settings")


def printed_settings() -> dict[str, str]:
    result = CliRunner().invoke(config, catch_exceptions=False)
    assert result.exit_code == 0
    return dict(line.split(" = ", 1) for line in result.output.splitlines())


def test_every_setting_is_printed_with_its_description() -> None:
    printed = printed_settings()
    assert list(printed) == [".".join(path) for path, _ in setting_paths()]
    assert all(line.endswith(".") for line in printed.values())
    assert printed["kafka.bootstrap"].startswith('"127.0.0.1:9092"  # default; Brokers')
    assert printed["egress.proxy"].startswith("none  # default; ")


def test_names_are_listed_although_a_setting_is_unknown() -> None:
    Path("clipmill.toml").write_text('[kafka]\nbootstap = "127.0.0.1:1"\n')
    result = CliRunner().invoke(config)
    listed = [line.partition("  # ")[0] for line in result.output.splitlines()]
    assert listed == [".".join(path) for path, _ in setting_paths()]
    assert str(result.exception) == (
        "kafka.bootstap is not a setting; did you mean kafka.bootstrap?"
    )


def test_source_of_each_value_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("clipmill.toml").write_text('http = "127.0.0.1:1"\n[kafka]\npartitions = 4\n')
    monkeypatch.setenv("CLIPMILL_LOG_FORMAT", "json")
    monkeypatch.setenv("clipmill_log_level", "DEBUG")
    monkeypatch.setenv("CLIPMILL_KAFKA__REPLICATION_FACTOR", "2")
    monkeypatch.setenv("CLIPMILL_STAGE", '{"window": 9}')
    printed = printed_settings()
    for path, value, source in [
        ("http", '"127.0.0.1:1"', "file clipmill.toml"),
        ("kafka.partitions", "4", "file clipmill.toml"),
        ("log_format", '"json"', "environment CLIPMILL_LOG_FORMAT"),
        ("log_level", '"DEBUG"', "environment CLIPMILL_LOG_LEVEL"),
        ("kafka.replication_factor", "2", "environment CLIPMILL_KAFKA__REPLICATION_FACTOR"),
        ("stage.window", "9", "environment CLIPMILL_STAGE"),
        ("stage.concurrency", "32", "default"),
        ("kafka.bootstrap", '"127.0.0.1:9092"', "default"),
    ]:
        assert printed[path].startswith(f"{value}  # {source}; "), path


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SASL_PASSWORD", "OAUTH_CLIENT_SECRET"):
        monkeypatch.setenv(f"CLIPMILL_KAFKA__{name}", "hunter2")
    monkeypatch.setenv("CLIPMILL_KAFKA__KEY_PASSWORD", "hunter2")
    monkeypatch.setenv("CLIPMILL_KAFKA__CERT_FILE", "me.pem")
    monkeypatch.setenv("CLIPMILL_KAFKA__SECURITY_PROTOCOL", "SSL")
    monkeypatch.setenv("CLIPMILL_KAFKA__TOKEN_PROVIDER_OPTIONS", '{"key": "hunter2"}')
    monkeypatch.setenv("CLIPMILL_EGRESS__PROXY", "http://me:hunter2@127.0.0.1:3128")
    printed = printed_settings()
    assert "hunter2" not in "".join(printed.values())
    for name in ("sasl_password", "oauth_client_secret", "key_password"):
        assert printed[f"kafka.{name}"].startswith("********  # environment ")
    assert printed["kafka.token_provider_options"].startswith('{"key": ********}  # ')
    assert printed["egress.proxy"].startswith('"http://********@127.0.0.1:3128"')


def test_proxies_are_shown_without_their_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = '{"a": "http://user:s3cret@proxy.example:3128", "b": "socks5h://u:s3cret@h:1"}'
    monkeypatch.setenv("CLIPMILL_EGRESS__PROXIES", proxies)
    shown = CliRunner().invoke(config).output
    assert "s3cret" not in shown
    assert "http://********@proxy.example:3128" in shown
    assert "socks5h://********@h:1" in shown


PRINTED = {
    "ENGINE__CANARIES": (
        '["https://user:S3CRET@www.tiktok.com/@a/video/1?token=S3CRET#S3CRET", "https://b.example"]',
        'engine.canaries = ["https://www.tiktok.com/@a/video/1", "https://b.example"]  # ',
    ),
    "AUTH__COOKIE_FILES": (
        '{"tiktok": ["a.txt", "folder/b.txt"], "mine": "c.txt"}',
        'auth.cookie_files = {"tiktok": ["a.txt", "folder/b.txt"], "mine": ["c.txt"]}  # ',
    ),
    "AUTH__OPTIONS": ('{"password": "S3CRET"}', 'auth.options = {"password": ********}  # '),
    "RETRY__WAITS_SECONDS": (
        '{"network.server": [5, 30]}',
        'retry.waits_seconds = {"network.server": [5.0, 30.0]}  # ',
    ),
    "PLATFORMS": (
        '{"x": {"hosts": ["x.example"], "extractors": ["X"], "media_hosts": [".x.example"]}}',
        (
            'platforms = {"x": {"hosts": ["x.example"], "extractors": ["X"],'
            ' "media_hosts": [".x.example"], "short_hosts": []}}  # '
        ),
    ),
    "DATA_DIR": ("/srv/clip mill", 'data_dir = "/srv/clip mill"  # '),
}


@pytest.mark.parametrize("variable", PRINTED)
def test_collections_are_printed_as_configured_without_secrets(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, line = PRINTED[variable]
    monkeypatch.setenv(f"CLIPMILL_{variable}", value)
    shown = CliRunner().invoke(config, catch_exceptions=False).output
    assert line in shown
    assert "S3CRET" not in shown
