import traceback
from pathlib import Path
from typing import Any

import pytest

from streams.settings import (
    KafkaSettings,
    Settings,
    SettingsError,
    load_settings,
    setting_paths,
    variable_name,
)

pytestmark = pytest.mark.usefixtures("own_settings")

FILE = Path("clipmill.toml")


def value_of(settings: Settings, path: str) -> Any:
    value: Any = settings
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(("path", "description"), setting_paths())
def test_every_setting_is_described_in_a_sentence(path: tuple[str, ...], description: str) -> None:
    assert description.endswith("."), path
    assert description[0].isupper()


def test_every_setting_has_its_own_variable() -> None:
    names = [variable_name(path) for path, _ in setting_paths()]
    assert len(set(names)) == len(names) > 30
    assert "CLIPMILL_KAFKA__BOOTSTRAP" in names
    assert "CLIPMILL_HTTP" in names


def test_defaults_apply_without_configuration() -> None:
    settings = load_settings()
    assert settings.kafka.bootstrap == "127.0.0.1:9092"
    assert settings.http.startswith("127.0.0.1:"), "not exposed to the network by default"


@pytest.mark.parametrize(
    ("argument", "variable", "file", "expected"),
    [
        pytest.param(None, None, None, 4, id="default"),
        pytest.param(None, None, 5, 5, id="file before default"),
        pytest.param(None, 6, 5, 6, id="environment before file"),
        pytest.param(7, 6, 5, 7, id="argument before environment"),
    ],
)
def test_precedence_is_argument_environment_file_default(
    monkeypatch: pytest.MonkeyPatch,
    argument: int | None,
    variable: int | None,
    file: int | None,
    expected: int,
) -> None:
    if variable:
        monkeypatch.setenv("CLIPMILL_KAFKA__PARTITIONS", str(variable))
    if file:
        FILE.write_text(f'[kafka]\npartitions = {file}\nbootstrap = "file:1"\n')
    settings = load_settings(**({"kafka": {"partitions": argument}} if argument else {}))
    assert settings.kafka.partitions == expected
    assert settings.kafka.bootstrap == ("file:1" if file else "127.0.0.1:9092")


def test_config_variable_names_another_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other.toml").write_text('http = "127.0.0.1:1"\n')
    monkeypatch.setenv("CLIPMILL_CONFIG", str(tmp_path / "other.toml"))
    assert load_settings().http == "127.0.0.1:1"


def test_group_may_be_set_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPMILL_KAFKA", '{"partitions": 9}')
    monkeypatch.setenv("CLIPMILL_KAFKA__REPLICATION_FACTOR", "3")
    kafka = load_settings().kafka
    assert (kafka.partitions, kafka.replication_factor) == (9, 3)


@pytest.mark.parametrize(
    "name", ["CLIPMILL_HTPP", "CLIPMILL_KAFKA__BOOTSTRAPS", "clipmill_nonsense", "CLIPMILL_KAFKA__"]
)
def test_unknown_variable_is_rejected_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"^{name} is not a setting"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("htpp = 1", "htpp is not a setting", id="unknown"),
        pytest.param("[kafka]\nbootstraps = 1", "kafka.bootstraps is not a setting", id="nested"),
        pytest.param("[kafak]\nx = 1", "kafak is not a setting", id="unknown group"),
        pytest.param(
            "[kafka]\nreply_topics = ['a b']",
            "kafka.reply_topics.0 has an invalid value",
            id="topic",
        ),
        pytest.param(
            "[kafka]\nreply_topics = ['a', 'a']", "reply_topics names a topic twice", id="twice"
        ),
        pytest.param(
            "[kafka]\nreply_topics = ['clipmill.results.v1']",
            "clipmill.results.v1 is a topic of clipmill's own",
            id="own topic",
        ),
        pytest.param(
            "[kafka]\nreply_topics = ['clipmill.ledger-outcomes-changelog']",
            "changelog is a topic of clipmill's own",
            id="changelog",
        ),
        pytest.param("[kafka]\npartitions = 0", "kafka.partitions has an invalid value", id="zero"),
        pytest.param("kafka = 3", "kafka has an invalid value", id="no group"),
        pytest.param("http = ", "clipmill.toml", id="not TOML"),
    ],
)
def test_invalid_file_is_rejected_with_the_setting(text: str, name: str) -> None:
    FILE.write_text(text)
    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_all_invalid_values_are_reported_at_once() -> None:
    FILE.write_text('log_format = "xml"\nlog_level = "LOUD"\n')
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert [line.split()[0] for line in str(caught.value).splitlines()] == [
        "log_format",
        "log_level",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLIPMILL_KAFKA__PARTITIONS", "many"),
        ("CLIPMILL_KAFKA__PARTITIONS", "-1"),
        ("CLIPMILL_KAFKA__SECURITY_PROTOCOL", "TLS"),
        ("CLIPMILL_KAFKA__COMMIT_INTERVAL_SECONDS", "0"),
        ("CLIPMILL_KAFKA__COMMIT_INTERVAL_SECONDS", "nan"),
        ("CLIPMILL_KAFKA__COMMIT_INTERVAL_SECONDS", "inf"),
        ("CLIPMILL_KAFKA__BOOTSTRAP", ""),
        ("CLIPMILL_KAFKA__BOOTSTRAP", "broker"),
        ("CLIPMILL_KAFKA__BOOTSTRAP", "broker:port"),
        ("CLIPMILL_KAFKA__BOOTSTRAP", "broker:0"),
        ("CLIPMILL_KAFKA__BOOTSTRAP", "broker:65536"),
        ("CLIPMILL_KAFKA__BOOTSTRAP", "a:1,,b:2"),
        ("CLIPMILL_EGRESS__PROXY", "socks5://127.0.0.1:1"),
        ("CLIPMILL_RETRY__JITTER", "0.6"),
        ("CLIPMILL_RETRY__JITTER", "-0.1"),
        ("CLIPMILL_STAGE__WINDOW", "0"),
    ],
)
def test_invalid_variable_is_rejected_with_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    path = name.removeprefix("CLIPMILL_").lower().replace("__", ".")
    with pytest.raises(SettingsError, match=f"^{path} has an invalid value"):
        load_settings()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a:1", "a:1"),
        ("a:1, b:2 ", "a:1,b:2"),
        ("[::1]:9092", "[::1]:9092"),
        ("host.example.org:65535", "host.example.org:65535"),
    ],
)
def test_bootstrap_is_normalised(given: str, expected: str) -> None:
    assert KafkaSettings(bootstrap=given).bootstrap == expected


def test_group_that_is_not_json_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLIPMILL_KAFKA", "127.0.0.1:9092")
    with pytest.raises(SettingsError, match="kafka"):
        load_settings()


def test_missing_named_settings_file_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPMILL_CONFIG", "missing.toml")
    with pytest.raises(SettingsError, match=r"missing\.toml does not exist"):
        load_settings()


def test_settings_file_that_is_a_directory_is_rejected() -> None:
    FILE.mkdir()
    with pytest.raises(SettingsError, match=r"clipmill\.toml does not exist, or is not a file"):
        load_settings()


def test_settings_file_that_is_not_utf8_is_rejected() -> None:
    FILE.write_bytes(b'http = "\xff"')
    with pytest.raises(SettingsError, match=r"clipmill\.toml"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "missing"),
    [("sasl_username", "sasl_password"), ("sasl_password", "sasl_username")],
)
def test_incomplete_login_is_rejected(
    monkeypatch: pytest.MonkeyPatch, name: str, missing: str
) -> None:
    monkeypatch.setenv("CLIPMILL_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv(f"CLIPMILL_KAFKA__{name.upper()}", "x")
    with pytest.raises(SettingsError, match=f"kafka has an invalid value: .* needs {missing}"):
        load_settings()


def test_secrets_are_not_shown() -> None:
    settings = load_settings(kafka={"sasl_password": "hunter2"})
    assert "hunter2" not in repr(settings) + str(settings) + str(settings.model_dump())


def test_error_does_not_show_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPMILL_KAFKA__SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("CLIPMILL_KAFKA__PARTITIONS", "0")
    monkeypatch.setenv("CLIPMILL_EGRESS__PROXY", "ftp://user:hunter2@127.0.0.1")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_an_empty_proxy_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPMILL_EGRESS__PROXY", "")
    assert load_settings().egress.proxy is None


PROXIES = {
    "socks5h://proxy.example": "",
    "socks5h://user:p%40ss@[::1]:1080": "",
    f"socks5h://u:{'x' * 255}@h:1": "",
    "http://user@h:1": "",
    "socks5://u:s3cret@h:1080": "write socks5h://",
    "socks://u:s3cret@h:1080": "write socks5h://",
    "socks4a://s3cret@h": "must start with http://, https:// or socks5h://",
    "h:1080": "must start with http://, https:// or socks5h://",
    "socks5h:s3cret": "must start with http://, https:// or socks5h://",
    "socks5h://s3cret@h:1": "incomplete login",
    "socks5h://:s3cret@h:1": "incomplete login",
    "socks5h://u:@h:1": "incomplete login",
    f"socks5h://u:{'s3cret' * 50}@h:1": "up to 255 characters",
    f"socks5h://{'s3cret' * 50}:p@h:1": "up to 255 characters",
    "socks5h://u:s3cr%C3%A9t@h:1": "characters of ASCII",
}


@pytest.mark.parametrize(("url", "reason"), PROXIES.items())
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_proxy_url_is_validated_without_showing_its_secret(
    url: str, reason: str, several: bool
) -> None:
    wanted = {"proxies": {"a": url}} if several else {"proxy": url}
    if not reason:
        egress = load_settings(egress=wanted).egress
        assert url in (egress.proxy, *egress.proxies.values())
        return
    with pytest.raises(SettingsError, match=reason) as caught:
        load_settings(egress=wanted)
    assert not [each for each in ("s3cret", "s3cr") if each in str(caught.value)]


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().kafka.partitions = 3  # type: ignore[misc]


def test_loaded_defaults_are_those_of_the_model() -> None:
    assert value_of(load_settings(), "stage.window") == Settings().stage.window


INVALID_URLS = [
    ("EGRESS__PROXY", "http://u:S3CRET/x@host:1"),
    ("EGRESS__PROXY", "http://u:S3C#RET@h:1"),
    ("EGRESS__PROXY", "http://u:1?S3CRET@h:1"),
    ("EGRESS__PROXY", "http://u:1/S3CRET@h:1"),
    ("EGRESS__PROXY", "http://h:S3CRET"),
    ("EGRESS__PROXY", "socks5h://u:S3CRET/x@host:1"),
    ("EGRESS__PROXIES", '{"a": "socks5h://u:1/S3CRET@h:1"}'),
    ("EGRESS__PROXY", "http://[S3CRET@h"),
    ("EGRESS__PROXY", "http://u:S3CRET\u2100@h:1"),
    ("EGRESS__PROXIES", '{"a": "http://h:1", "b": "http://u:S3C#RET@h:1"}'),
    ("CACHE__REDIS_URL", "redis://:S3CRET/x@host"),
    ("CACHE__REDIS_URL", "redis://u:S3C#RET@h:1"),
]


@pytest.mark.parametrize(("variable", "url"), INVALID_URLS)
def test_url_with_unencoded_password_is_rejected_without_showing_it(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CLIPMILL_{variable}", url)
    with pytest.raises(
        SettingsError, match=r"is not a URL; encode / \? # @ in its password"
    ) as caught:
        load_settings()
    assert variable.lower().replace("__", ".") in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert "S3C" not in shown
    assert "RET" not in shown
