import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.standin.ids import case_of_id, case_of_user, user_name, video_id
from tests.standin.scenarios import BY_CODE, BY_NAME, ORDINARY, SCENARIOS, Case, Scenario

IN_IDS = [row for row in SCENARIOS if row.surface not in {"connect", "socks", "profile"}]


def test_id_has_the_documented_layout() -> None:
    assert video_id("page.503", times=2, serial=1) == "7103000000200000001"


@given(
    row=st.sampled_from(IN_IDS),
    param=st.integers(0, 99_999),
    times=st.integers(0, 99),
    serial=st.integers(0, 999_999),
)
def test_id_encodes_its_case(row: Scenario, param: int, times: int, serial: int) -> None:
    name = row.name
    made = video_id(name, param=param, times=times, serial=serial)

    assert len(made) == 19
    assert case_of_id(made) == Case(BY_NAME[name], param, times)


@given(row=st.sampled_from(SCENARIOS), param=st.integers(0, 99_999), times=st.integers(0, 99))
def test_user_name_encodes_its_case(row: Scenario, param: int, times: int) -> None:
    name = row.name

    assert case_of_user(user_name(name, param=param, times=times)) == Case(
        BY_NAME[name], param, times
    )


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        pytest.param("sc_deleted", Case(BY_NAME["deleted"]), id="name alone"),
        pytest.param("sc_page.429after_7", Case(BY_NAME["page.429after"], 7), id="with param"),
        pytest.param("sc_page.503_0_2", Case(BY_NAME["page.503"], 0, 2), id="with times"),
        pytest.param("sc_nothing", None, id="unknown scenario"),
        pytest.param("clip.maker7", None, id="ordinary user"),
        pytest.param("", None, id="no user"),
    ],
)
def test_user_name_is_decoded(user: str, expected: Case | None) -> None:
    assert case_of_user(user) == expected


@pytest.mark.parametrize(
    "real",
    ["7608826249200356630", "7106798200794926362", "6748451240264420610", "7", "", "abc"],
)
def test_other_ids_are_regular_videos(real: str) -> None:
    assert case_of_id(real) == ORDINARY


@given(st.text(max_size=30))
def test_any_text_is_parsed_without_an_error(text: str) -> None:
    case_of_id(text)
    case_of_user(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"scenario": "nonsense"}, "no scenario is called", id="unknown"),
        pytest.param({"scenario": "connect.tls"}, "set it by a switch", id="before any URL"),
        pytest.param({"scenario": "profile"}, "put it into a user name", id="of an account"),
        pytest.param({"scenario": "ok", "param": 100_000}, "param must be", id="param"),
        pytest.param({"scenario": "ok", "times": 100}, "times must be", id="times"),
        pytest.param({"scenario": "ok", "serial": -1}, "serial must be", id="serial"),
    ],
)
def test_invalid_arguments_are_rejected(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        video_id(**arguments)  # type: ignore[arg-type]


def test_codes_and_names_are_unique_and_fit_their_digits() -> None:
    assert len(BY_CODE) == len(BY_NAME) == len(SCENARIOS)
    assert all(0 <= row.code <= 999 for row in SCENARIOS)
    assert all(row.sentence.endswith(".") for row in SCENARIOS)
    assert all("_" not in row.name for row in SCENARIOS)


def test_default_replaces_zero() -> None:
    row = BY_NAME["page.429after"]

    assert (Case(row).value, Case(row, 5).value) == (row.default, 5)
