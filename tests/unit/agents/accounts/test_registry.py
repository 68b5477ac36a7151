import logging
from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint

import pytest

from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import (
    Account,
    AccountStatus,
    AccountUse,
    Authenticator,
    LoginSettings,
)
from agents.accounts.registry import GROUP, load_authenticator
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.agents.accounts.sessions import FakeAccount, cookie

MODULE = "tests.unit.agents.accounts.test_registry"
SECRET = "the vault's password"
SETTINGS = LoginSettings(options={"password": SECRET})


class Vault:
    """A third-party plug-in."""

    def __init__(self, settings: LoginSettings) -> None:
        self.password = settings.options["password"]
        self.uses: list[tuple[str, str, AccountUse]] = []

    def accounts(self, platform: str) -> tuple[str, ...]:
        return ("main",) if platform == "tiktok" else ()

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> Account | None:
        known = platform == "tiktok" and "main" not in avoid
        return FakeAccount("main", (cookie(value=self.password),)) if known else None

    def record_use(self, platform: str, account: Account, use: AccountUse) -> None:
        self.uses.append((platform, account.name, use))

    def health_report(self) -> Sequence[AccountStatus]:
        return [AccountStatus(platform="tiktok", account="main", healthy=True)]

    async def close(self) -> None:
        self.uses.clear()


class BrokenVault:
    def __init__(self, settings: LoginSettings) -> None:
        raise ValueError(f"wrong: {settings.options['password']}")


def entry_point(name: str, attribute: str) -> EntryPoint:
    return EntryPoint(name, f"{MODULE}:{attribute}", GROUP)


def test_cookie_files_are_built_in() -> None:
    assert isinstance(load_authenticator("cookie_files", SETTINGS), CookieFiles)


async def test_plug_in_is_found_by_its_name() -> None:
    entry_points = [entry_point("other", "BrokenVault"), entry_point("vault", "Vault")]
    vault: Authenticator = load_authenticator("vault", SETTINGS, entry_points)
    assert isinstance(vault, Vault)
    account = await vault.log_in("tiktok")
    assert account is not None
    assert account.cookies == (cookie(value=SECRET),)


@pytest.mark.parametrize("entry_points", [[], [entry_point("vault", "Vault")]])
def test_missing_plug_in_is_a_config_error(entry_points: list[EntryPoint]) -> None:
    with pytest.raises(ClipmillError, match="'safe' is not available: no installed pack") as caught:
        load_authenticator("safe", SETTINGS, entry_points)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert "cookie_files" in caught.value.message


@pytest.mark.parametrize("attribute", ["BrokenVault", "Nothing", "cookie", "SECRET"])
def test_broken_plug_in_is_reported_without_secrets(
    attribute: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        ClipmillError, match=f"'bad' is not available: {MODULE}:{attribute} is"
    ) as caught:
        load_authenticator("bad", SETTINGS, [entry_point("bad", attribute)])
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert SECRET not in caught.value.message
    (record,) = caplog.records
    assert (record.levelno, record.message.split()[2]) == (logging.ERROR, "bad")
    assert SECRET not in caplog.text
