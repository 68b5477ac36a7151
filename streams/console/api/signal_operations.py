"""Operations on breakers, rates and stages, and the types of their JSON."""

import msgspec

from schemas.contract.examples import ACCOUNT_STATE, BREAKER_STATES, RATE_STATES
from schemas.signals import AccountState, BreakerState, RateState
from streams.console.api.operations import CHANGE_ERRORS, Body, Operation, Parameter
from streams.console.api.shapes import EmptyBody


class BreakerView(BreakerState, frozen=True, kw_only=True):
    """A circuit breaker of one platform, operation and egress."""

    name: str


class RateView(RateState, frozen=True, kw_only=True):
    """A rate limit of an operation of a platform over one egress."""

    name: str


class AccountView(AccountState, frozen=True, kw_only=True):
    """An account of a platform, as the worker sees it that has published it last."""

    name: str


class BreakerList(msgspec.Struct, frozen=True, kw_only=True):
    """All breakers, by name."""

    breakers: tuple[BreakerView, ...]


class RateList(msgspec.Struct, frozen=True, kw_only=True):
    """All rates, by name."""

    rates: tuple[RateView, ...]


class AccountList(msgspec.Struct, frozen=True, kw_only=True):
    """The accounts that a worker has, by name."""

    accounts: tuple[AccountView, ...]


class AcceptedSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A published command.

    Attributes:
        command: id of the command; a rejection is a result with this id.
    """

    command: str


BREAKER_NAME = Parameter(
    name="name", description="`PLATFORM:OPERATION:EGRESS`.", example="tiktok:extract:direct"
)
STAGE_NAME = Parameter(name="name", description="Name of the stage.", example="download")


def _change(path: str, name: str, summary: str, parameter: Parameter) -> Operation:
    return Operation(
        method="post",
        path=path,
        name=name,
        summary=summary,
        parameters=(parameter,),
        body=Body(content={"application/json": EmptyBody}, example={}, required=False),
        status=202,
        response=AcceptedSignal,
        example={"command": "7f3a"},
        errors=(*CHANGE_ERRORS, 404),
    )


OPERATIONS = (
    Operation(
        method="get",
        path="/breakers",
        name="listBreakers",
        summary="Return all circuit breakers, by name.",
        response=BreakerList,
        example={
            "breakers": [
                {"name": each.name, **msgspec.to_builtins(each)} for each in BREAKER_STATES[:1]
            ]
        },
    ),
    Operation(
        method="get",
        path="/rates",
        name="listRates",
        summary="Return all rate limits, by name.",
        response=RateList,
        example={
            "rates": [{"name": each.name, **msgspec.to_builtins(each)} for each in RATE_STATES[:1]]
        },
    ),
    Operation(
        method="get",
        path="/accounts",
        name="listAccounts",
        summary="Return the accounts that a worker has, by name.",
        response=AccountList,
        example={"accounts": [{"name": ACCOUNT_STATE.name, **msgspec.to_builtins(ACCOUNT_STATE)}]},
    ),
    _change(
        "/breakers/{name}/open",
        "openBreaker",
        "Publish the command that forces a breaker open until it is reset.",
        BREAKER_NAME,
    ),
    _change(
        "/breakers/{name}/reset",
        "resetBreaker",
        "Publish the command that closes a breaker and clears its counts.",
        BREAKER_NAME,
    ),
    _change(
        "/stages/{name}/resume",
        "resumeStage",
        "Publish the command that resumes the intake of a paused stage.",
        STAGE_NAME,
    ),
)
