"""Video ids and user names that encode a case.

An id is ``7 SSS PPPPP TT 00 NNNNNN``: scenario code, param, times, two zeros that distinguish it
from nearly every real id, and a serial number.
"""

import re

from tests.standin.scenarios import BY_CODE, BY_NAME, ORDINARY, Case, scenario_named

MAX_PARAM = 99_999
MAX_TIMES = 99
MAX_SERIAL = 999_999
_ID = re.compile(r"7(?P<code>\d{3})(?P<param>\d{5})(?P<times>\d{2})00\d{6}", re.ASCII)
_USER = re.compile(r"sc_(?P<name>[a-z0-9.]+)(?:_(?P<param>\d{1,5}))?(?:_(?P<times>\d{1,2}))?")


def video_id(scenario: str = "ok", *, param: int = 0, times: int = 0, serial: int = 1) -> str:
    """The video id that triggers a scenario wherever it is requested.

    Raises:
        ValueError: There is no such scenario, it is not reachable by an id, or a number does not
            fit its digits.
    """
    row = scenario_named(scenario)
    if row.surface == "connect":
        raise ValueError(f"{scenario} happens before a URL is known; set it by a switch")
    if row.surface == "profile":
        raise ValueError(f"{scenario} is about an account; put it into a user name")
    _check("param", param, MAX_PARAM)
    _check("times", times, MAX_TIMES)
    _check("serial", serial, MAX_SERIAL)
    return f"7{row.code:03}{param:05}{times:02}00{serial:06}"


def user_name(scenario: str, *, param: int = 0, times: int = 0) -> str:
    """The user name that triggers a scenario for any id, without the ``@``."""
    _check("param", param, MAX_PARAM)
    _check("times", times, MAX_TIMES)
    return f"sc_{scenario_named(scenario).name}_{param}_{times}"


def case_of_id(value: str) -> Case:
    """The case encoded in an id; the ordinary one for every id not made by `video_id`."""
    match = _ID.fullmatch(value)
    row = BY_CODE.get(int(match["code"])) if match else None
    if match is None or row is None:
        return ORDINARY
    return Case(row, int(match["param"]), int(match["times"]))


def case_of_user(value: str) -> Case | None:
    """The case encoded in a user name, if any."""
    match = _USER.fullmatch(value)
    row = BY_NAME.get(match["name"]) if match else None
    if match is None or row is None:
        return None
    return Case(row, int(match["param"] or 0), int(match["times"] or 0))


def _check(name: str, number: int, limit: int) -> None:
    if not 0 <= number <= limit:
        raise ValueError(f"{name} must be between 0 and {limit}, not {number}")
