import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from agents.access.accounts import (
    SWEEP_SECONDS,
    AccountGauges,
    AccountStates,
    open_authenticator,
    stage_authenticator,
)
from agents.accounts.cookie_files import CookieFiles
from agents.accounts.interface import AccountStatus, AccountUse
from agents.platforms.registry import Platforms
from schemas.codec import decode
from schemas.errors import ClipmillError, ErrorCode
from schemas.signals import ACCOUNT_SECONDS, AccountState
from streams.observability.metrics import REGISTRY
from streams.records import Outgoing
from streams.settings import AuthSettings
from streams.topics import SIGNALS
from tests.unit.agents.accounts.sessions import LATER, cookie, value_in, write
from tests.unit.agents.builders import make_context, make_settings


def metric(name: str, account: str = "main") -> float | None:
    labels = {"platform": "tiktok", "account": account}
    return REGISTRY.get_sample_value(f"clipmill_account_{name}", labels)


def auth_settings(path: Path) -> AuthSettings:
    return AuthSettings.model_validate({"cookie_files": {"tiktok": str(path)}})


# Settings

LOCATIONS = {
    "a file": ("a.txt", (Path("a.txt"),)),
    "files": (["a.txt", "b.txt"], (Path("a.txt"), Path("b.txt"))),
    "a folder": ("folder/", (Path("folder"),)),
}


@pytest.mark.parametrize(("given", "expected"), LOCATIONS.values(), ids=LOCATIONS)
def test_cookie_files_setting_accepts_files_and_folders(
    given: object, expected: tuple[Path, ...]
) -> None:
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
def test_invalid_cookie_files_setting_is_rejected(given: object, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        AuthSettings.model_validate({"cookie_files": {"tiktok": given}})


def test_authenticator_options_are_masked_in_repr() -> None:
    auth = AuthSettings.model_validate({"options": {"password": "s3cret"}})
    assert "s3cret" not in f"{auth!r} {auth}"


def test_authenticator_is_selected_by_the_settings() -> None:
    assert isinstance(open_authenticator(AuthSettings()), CookieFiles)
    with pytest.raises(ClipmillError, match="no installed package provides it") as caught:
        open_authenticator(AuthSettings(authenticator="vault"))
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


# Metrics


def test_gauges_follow_account_status_and_are_removed_with_the_account() -> None:
    main = AccountStatus(platform="tiktok", account="main", healthy=True, expires_at=LATER)
    spare = AccountStatus(
        platform="tiktok", account="spare", healthy=False, last_success_at=5.0, unsaved=True
    )
    gauges = AccountGauges()
    gauges.update([main, spare])
    assert [metric("healthy"), metric("unsaved")] == [1.0, 0.0]
    assert metric("cookie_expiry_timestamp_seconds") == LATER
    assert metric("last_success_timestamp_seconds") is None
    assert [metric("healthy", "spare"), metric("unsaved", "spare")] == [0.0, 1.0]
    assert metric("last_success_timestamp_seconds", "spare") == 5.0
    assert metric("cookie_expiry_timestamp_seconds", "spare") is None

    gauges.update([spare])
    assert metric("healthy") is None
    assert metric("cookie_expiry_timestamp_seconds") is None
    assert metric("healthy", "spare") == 0.0
    gauges.update([])
    assert metric("healthy", "spare") is None


# For a stage


async def test_stage_sweeps_account_gauges_and_saves_cookies_on_close(tmp_path: Path) -> None:
    path = write(tmp_path / "main.txt")
    context, _ = make_context(make_settings(auth=auth_settings(path)))
    async with stage_authenticator(context, Platforms.load()) as authenticator:
        account = await authenticator.log_in("tiktok")
        assert account is not None
        authenticator.record_use(
            "tiktok", account, AccountUse(subject="tiktok:1", login_required=True)
        )
        ((seconds, sweep),) = context.periodic
        ((record,),) = sweep()
        assert isinstance(record, Outgoing)
        assert (seconds, record.key) == (SWEEP_SECONDS, b"account/tiktok/main")
        assert metric("healthy") == 1.0
        for value in ("first", "last"):
            account.renew((cookie(value=value),))
    assert value_in(path) == "last"


MAIN = AccountStatus(platform="tiktok", account="main", healthy=True, expires_at=LATER)


@pytest.mark.parametrize(
    ("change", "seconds", "is_published"),
    [
        ({}, 2, False),
        ({}, ACCOUNT_SECONDS, True),
        ({"last_success_at": 5.0}, 2, False),
        ({"healthy": False}, 2, True),
        ({"unsaved": True}, 2, True),
        ({"expires_at": None}, 2, True),
        ({"account": "spare"}, 2, True),
    ],
)
def test_state_of_an_account_is_published_when_it_changes_and_now_and_then(
    change: dict[str, Any], seconds: float, *, is_published: bool
) -> None:
    states = AccountStates()
    (first,) = states.update([MAIN], 100.0)
    assert decode(first.value or b"", AccountState).expires_at == datetime.fromtimestamp(LATER, UTC)
    changed = msgspec.structs.replace(MAIN, **change)
    records = states.update([MAIN, changed] if "account" in change else [changed], 100.0 + seconds)
    assert bool(records) is is_published
    assert states.update([changed], 101.0 + seconds)[1:] == []


def test_account_that_is_gone_leaves_a_tombstone() -> None:
    states = AccountStates()
    states.update([MAIN], 100.0)
    (tombstone,) = states.update([], 102.0)
    assert (tombstone.topic, tombstone.key, tombstone.value) == (
        SIGNALS,
        b"account/tiktok/main",
        None,
    )
    assert states.update([], 104.0) == []


async def test_unsaved_cookies_are_saved_when_the_stage_crashes(tmp_path: Path) -> None:
    path = write(tmp_path / "main.txt")
    context, _ = make_context(make_settings(auth=auth_settings(path)))

    async def crash() -> None:
        async with stage_authenticator(context, Platforms.load()) as authenticator:
            account = await authenticator.log_in("tiktok")
            assert account is not None
            account.renew((cookie(value="last"),))
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.create_task(crash())
    assert value_in(path) == "last"
