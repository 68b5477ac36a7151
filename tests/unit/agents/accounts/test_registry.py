import logging
from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint

import pytest

from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import (
    Account,
    Authenticator,
    LoginSettings,
    Standing,
    Use,
)
from agents.accounts.registry import GROUP, load_authenticator
from schemas.errors import ClipmillError, ErrorCode
from tests.unit.agents.accounts.sessions import GivenAccount, cookie

HERE = "tests.unit.agents.accounts.test_registry"
SECRET = "the vault's password"
SETTINGS = LoginSettings(options={"password": SECRET})


class Vault:
    """A plug-in as somebody else would write it."""

    def __init__(self, settings: LoginSettings) -> None:
        self.password = settings.options["password"]
        self.told: list[tuple[str, str, Use]] = []

    def accounts(self, platform: str) -> tuple[str, ...]:
        return ("main",) if platform == "tiktok" else ()

    async def log_in(self, platform: str, *, avoid: Collection[str] = ()) -> Account | None:
        known = platform == "tiktok" and "main" not in avoid
        return GivenAccount("main", (cookie(value=self.password),)) if known else None

    def tell(self, platform: str, account: Account, use: Use) -> None:
        self.told.append((platform, account.name, use))

    def health_report(self) -> Sequence[Standing]:
        return [Standing(platform="tiktok", account="main", healthy=True)]

    async def close(self) -> None:
        self.told.clear()


class NoVault:
    def __init__(self, settings: LoginSettings) -> None:
        raise ValueError(f"wrong: {settings.options['password']}")


def point(name: str, what: str) -> EntryPoint:
    return EntryPoint(name, f"{HERE}:{what}", GROUP)


def test_cookie_files_are_built_in() -> None:
    assert isinstance(load_authenticator("cookie_files", SETTINGS), CookieFiles)


async def test_another_one_is_found_by_its_name() -> None:
    points = [point("other", "NoVault"), point("vault", "Vault")]
    vault: Authenticator = load_authenticator("vault", SETTINGS, points)
    assert isinstance(vault, Vault)
    account = await vault.log_in("tiktok")
    assert account is not None
    assert account.cookies == (cookie(value=SECRET),)


@pytest.mark.parametrize("points", [[], [point("vault", "Vault")]])
def test_one_that_is_not_installed_is_told(points: list[EntryPoint]) -> None:
    with pytest.raises(ClipmillError, match="'safe' is not available: no installed pack") as caught:
        load_authenticator("safe", SETTINGS, points)
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert "cookie_files" in caught.value.message


@pytest.mark.parametrize("what", ["NoVault", "Nothing", "cookie", "SECRET"])
def test_one_that_is_broken_is_told_without_its_secrets(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ClipmillError, match=f"'bad' is not available: {HERE}:{what} is") as caught:
        load_authenticator("bad", SETTINGS, [point("bad", what)])
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert SECRET not in caught.value.message
    (record,) = caplog.records
    assert (record.levelno, record.message.split()[2]) == (logging.ERROR, "bad")
    assert SECRET not in caplog.text
