import asyncio
from pathlib import Path

import pytest
from pydantic import ValidationError

from agents.access.accounts import SWEEP_SECONDS, ShownAccounts, logins, open_authenticator
from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import Standing, Use
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError, ErrorCode
from streams.observability.metrics import REGISTRY
from streams.settings import AuthSettings
from tests.unit.agents.accounts.sessions import LATER, cookie, value_in, write
from tests.unit.agents.builders import make_context, make_settings


def metric(name: str, account: str = "main") -> float | None:
    labels = {"platform": "tiktok", "account": account}
    return REGISTRY.get_sample_value(f"clipmill_account_{name}", labels)


def settings_of(path: Path) -> AuthSettings:
    return AuthSettings.model_validate({"cookie_files": {"tiktok": str(path)}})


# Settings

PLACES = {
    "a file": ("a.txt", (Path("a.txt"),)),
    "files": (["a.txt", "b.txt"], (Path("a.txt"), Path("b.txt"))),
    "a folder": ("folder/", (Path("folder"),)),
}


@pytest.mark.parametrize(("given", "expected"), PLACES.values(), ids=PLACES)
def test_files_and_folders_are_set(given: object, expected: tuple[Path, ...]) -> None:
    auth = AuthSettings.model_validate({"cookie_files": {"tiktok": given}})
    assert auth.cookie_files == {"tiktok": expected}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "at least 1 item"),
        (["a/main.txt", "b/main.txt"], "two files are named main"),
        (5, "valid tuple"),
    ],
)
def test_what_cannot_be_files_is_refused(given: object, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        AuthSettings.model_validate({"cookie_files": {"tiktok": given}})


def test_secrets_of_a_plug_in_are_not_shown() -> None:
    auth = AuthSettings.model_validate({"options": {"password": "s3cret"}})
    assert "s3cret" not in f"{auth!r} {auth}"


def test_the_settings_say_which_authenticator_it_is() -> None:
    assert isinstance(open_authenticator(AuthSettings()), CookieFiles)
    with pytest.raises(ClipmillError, match="no installed package offers it") as caught:
        open_authenticator(AuthSettings(authenticator="vault"))
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


# Metrics


def test_accounts_are_shown_as_they_fare() -> None:
    main = Standing(platform="tiktok", account="main", healthy=True, expires_at=LATER)
    spare = Standing(
        platform="tiktok", account="spare", healthy=False, last_success_at=5.0, unsaved=True
    )
    shown = ShownAccounts()
    shown.show([main, spare])
    assert [metric("healthy"), metric("unsaved")] == [1.0, 0.0]
    assert metric("cookie_expiry_timestamp_seconds") == LATER
    assert metric("last_success_timestamp_seconds") is None
    assert [metric("healthy", "spare"), metric("unsaved", "spare")] == [0.0, 1.0]
    assert metric("last_success_timestamp_seconds", "spare") == 5.0
    assert metric("cookie_expiry_timestamp_seconds", "spare") is None

    shown.show([spare])
    assert metric("healthy") is None
    assert metric("cookie_expiry_timestamp_seconds") is None
    assert metric("healthy", "spare") == 0.0
    shown.show([])
    assert metric("healthy", "spare") is None


# For a stage


async def test_a_stage_has_its_logins_swept_and_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "main.txt")
    context, _ = make_context(make_settings(auth=settings_of(path)))
    async with logins(context, Platforms.load()) as authenticator:
        account = await authenticator.log_in("tiktok")
        assert account is not None
        authenticator.tell("tiktok", account, Use(subject="tiktok:1", needed=True))
        ((seconds, sweep),) = context.sweeps
        assert (seconds, sweep()) == (SWEEP_SECONDS, [])
        assert metric("healthy") == 1.0
        for value in ("first", "last"):
            account.renew((cookie(value=value),))
    assert value_in(path) == "last"


async def test_what_is_to_be_kept_is_kept_when_a_stage_crashes(tmp_path: Path) -> None:
    path = write(tmp_path / "main.txt")
    context, _ = make_context(make_settings(auth=settings_of(path)))

    async def crash() -> None:
        async with logins(context, Platforms.load()) as authenticator:
            account = await authenticator.log_in("tiktok")
            assert account is not None
            account.renew((cookie(value="last"),))
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.create_task(crash())
    assert value_in(path) == "last"
