import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.accounts.cookie_saving import SAME_EXPIRY_SECONDS, changed, login_ends_at
from schemas.video import Cookie
from tests.unit.agents.accounts.sessions import LATER, cookie

FAR, NEAR = LATER + SAME_EXPIRY_SECONDS + 1, LATER + SAME_EXPIRY_SECONDS
OTHER = Cookie(name="sessionid", value="s3cret", domain="www.tiktok.com", expires_at=LATER)

CASES = {
    "the same": (cookie(), False),
    "another value": (cookie(value="new"), True),
    "a little longer": (cookie(expires_at=NEAR), False),
    "much longer": (cookie(expires_at=FAR), True),
    "ended": (cookie(expires_at=1.0), True),
    "with no expiry": (cookie(expires_at=None), False),
    "another value with none": (cookie(value="new", expires_at=None), True),
    "another name": (cookie("other"), True),
    "another domain": (OTHER, True),
}


@pytest.mark.parametrize(("after", "is_new"), CASES.values(), ids=CASES)
def test_what_was_set_anew_is_found(after: Cookie, is_new: bool) -> None:
    assert changed([cookie()], [after]) == ((after,) if is_new else ())


def test_an_expiry_where_there_was_none_is_new() -> None:
    assert changed([cookie(expires_at=None)], [cookie()]) == (cookie(),)


@given(st.lists(st.sampled_from([cookie(), cookie("b"), OTHER])))
def test_nothing_changed_is_nothing(cookies: list[Cookie]) -> None:
    assert changed(cookies, cookies) == ()
    assert changed(cookies, []) == ()


ENDS: dict[str, tuple[list[Cookie], float | None]] = {
    "none": ([], None),
    "the one that carries it": ([cookie("sid", expires_at=5.0), cookie("b")], 5.0),
    "the first of those": ([cookie("sid", expires_at=5.0), cookie("sid2", expires_at=4.0)], 4.0),
    "it carries it, with no expiry": ([cookie("sid", expires_at=None), cookie("b")], None),
    "one of two": ([cookie("sid", expires_at=None), cookie("sid2", expires_at=4.0)], 4.0),
    "none carries it": ([cookie("a", expires_at=5.0), cookie("b", expires_at=6.0)], 6.0),
    "none carries it, one has no expiry": (
        [cookie("a", expires_at=5.0), cookie("b", "", None)],
        None,
    ),
}


@pytest.mark.parametrize(("cookies", "expected"), ENDS.values(), ids=ENDS)
def test_when_a_login_ends(cookies: list[Cookie], expected: float | None) -> None:
    assert login_ends_at(cookies, ("sid", "sid2")) == expected
